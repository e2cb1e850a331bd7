"""Servers that the media plane is compared with, as small as they can be, behind the same WHIP endpoint."""
