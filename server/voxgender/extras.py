"""Name the extra of the package that brings a module which is not installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

MODULES: Mapping[str, tuple[str, ...]] = {
    "media": ("aioice", "aiortc", "av", "ifaddr", "numpy", "onnxruntime"),
    "checkpoints": ("huggingface_hub", "onnx", "safetensors"),
    "torch": ("torch", "transformers"),
    "registry": ("redis",),
    "pool": ("ray", "starlette"),
    "training": ("matplotlib", "pyworld", "scipy", "tqdm"),
}
"""The modules that each extra adds, by the extra's name in ``pyproject.toml``."""


def advice(missing: ModuleNotFoundError) -> str:
    """Say how to install a module that could not be imported: ``needs torch: pip install 'voxgender[torch]'``.

    Raises:
        ModuleNotFoundError: the given one, if no extra brings the module, because then the installation is broken.
    """
    module = (missing.name or "").partition(".")[0]
    for extra, modules in MODULES.items():
        if module in modules:
            return f"needs {module}: pip install 'voxgender[{extra}]'"
    raise missing


@contextmanager
def telling_extras() -> Iterator[None]:
    """Say how to install a module that could not be imported in this block, to a program that uses the library.

    Raises:
        ModuleNotFoundError: with the advice as its message, if an extra brings the module.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(f"voxgender {advice(missing)}", name=missing.name) from None
