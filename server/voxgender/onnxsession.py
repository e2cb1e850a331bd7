"""Run ONNX files by ONNX Runtime, on the CPU: the speech gate's network and the model's."""

import os
from pathlib import Path
from typing import Any

# ONNX Runtime's builds report to their maker, unless they are told not to before they are imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

onnxruntime.disable_telemetry_events()

VERSION: str = onnxruntime.__version__


def open_session(model: Path | bytes, threads: int = 1) -> Any:
    """Open an ``onnxruntime.InferenceSession`` on the CPU.

    Args:
        model: a file, or what one holds.
        threads: number of threads of one run, the calling thread among them.

    Raises:
        Exception: ONNX Runtime cannot read the model, or refuses it; its exceptions have no base of their own.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # It raises what it logs as errors, and would write them to the terminal in colours as well.
    options.log_severity_level = 4
    # Threads that wait by spinning would take the cores that media needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
