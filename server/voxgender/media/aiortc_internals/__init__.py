"""Touch the parts that aiortc and aioice keep private, one module for each thing that needs them.

Written against aiortc 1.16 and aioice 0.13. ``tests/media/aiortc_internals`` fails when an upgrade moves a name, or
when a private name is used that no test knows.
"""
