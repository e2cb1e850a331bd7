"""The analyzers that ``voxgender.analyze`` shares between calls."""

import threading

from voxgender import options
from voxgender.analysis import Analyzer
from voxgender.roles.serve import make_analyzer
from voxgender.settings import ModelOptions

_lock = threading.Lock()
_analyzers: dict[str, Analyzer] = {}


def shared_analyzer(model: str) -> Analyzer:
    """The process's analyzer with this model, loaded at the first call. It lives as long as the process.

    Raises:
        ModelError: the model cannot be loaded.
    """
    with _lock:
        if model not in _analyzers:
            _analyzers[model] = make_analyzer(options.read(ModelOptions, {"model": model}))
        return _analyzers[model]
