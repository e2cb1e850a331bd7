"""Adapt voxgender to other frameworks of real-time voice: each module imports its framework."""
