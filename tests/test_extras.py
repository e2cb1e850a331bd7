from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from tests.deploy.packages import required
from voxgender.extras import MODULES, advice


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("torch", "needs torch: pip install 'voxgender[torch]'"),
        ("onnx.helper", "needs onnx: pip install 'voxgender[checkpoints]'"),
        ("aiortc", "needs aiortc: pip install 'voxgender[media]'"),
    ],
)
def test_a_missing_module_is_told_with_the_extra_that_brings_it(module: str, told: str) -> None:
    assert advice(ModuleNotFoundError(f"No module named '{module}'", name=module)) == told


@pytest.mark.parametrize("name", ["voxgender.nothing", "left_pad", None])
def test_a_module_that_no_extra_brings_stays_an_error(name: str | None) -> None:
    with pytest.raises(ModuleNotFoundError):
        advice(ModuleNotFoundError("no module", name=name))


@pytest.mark.parametrize("extra", MODULES)
def test_each_extra_brings_its_modules_and_the_package_alone_does_not(extra: str) -> None:
    distributions = packages_distributions()
    for module in MODULES[extra]:
        names = {canonicalize_name(name) for name in distributions[module]}
        assert names & set(required(extra)), module
        assert not names & set(required()), module
