"""Examine a machine and a server's options before calls do: ``voxgender doctor``."""
