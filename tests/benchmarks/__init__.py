"""Side-by-side measurements; ratios within one run are what counts. Never part of the tests.

``python -m tests.benchmarks`` runs all of them, ``python -m tests.benchmarks model media_plane`` some. Everything
stays on loopback, ends by itself and takes its child processes with it. Figures go to ``artifacts/benchmarks/``.
"""
