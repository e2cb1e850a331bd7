"""Write networks as ONNX files: when a network is made, not when a server starts.

All but :mod:`~.architecture` needs the package ``onnx``, which running the files does not.
"""
