"""The packages that go to the registries of Python and JavaScript, as built files."""

import json
import re
import subprocess
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
import yaml

from tests.deploy.artifacts import ROOT
from voxgender import __version__

CLIENT = ROOT / "client"


def in_git(*folders: str) -> set[Path]:
    """Files of the repository below some folders, those that are new included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {path for path in map(Path, listed.splitlines()) if (ROOT / path).is_file()}


def test_the_wheel_has_the_server_and_the_page_and_nothing_else(wheel: Path) -> None:
    """It had the client's tests in it, and node_modules where they were installed."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not re.match(r"voxgender-[\d.]+\.dist-info/", name)}
    server = {path.relative_to("server").as_posix() for path in in_git("server")}
    page = {f"voxgender/{path.as_posix()}" for path in in_git("client/src", "client/site")}
    assert names == server | page


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        said = message_from_string(archive.read(metadata).decode())
        licences = {name for name in archive.namelist() if ".dist-info/licenses/" in name}
    assert said["Version"] == __version__
    assert {url.partition(",")[0] for url in said.get_all("Project-URL", [])} >= {"Documentation", "Issues", "Source"}
    assert len(licences) == len(said.get_all("License-File", []))
    assert "Typing :: Typed" in said.get_all("Classifier", [])


def test_the_page_of_the_package_has_links_that_lead_somewhere(wheel: Path) -> None:
    """The picture and every link were relative, as they are in the repository: on PyPI none of them led anywhere."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = str(message_from_string(archive.read(metadata).decode()).get_payload())
    links = re.findall(r"\]\(([^)#]+)", text)
    assert len(links) > 20
    assert [link for link in links if not link.startswith("https://")] == []
    there = "https://github.com/voxgender/voxgender/"
    paths = [link.removeprefix(there).partition("/main/")[2] for link in links if link.startswith(there)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_version_is_one() -> None:
    """It stood in four places, and nothing held them together."""
    assert json.loads((CLIENT / "package.json").read_text())["version"] == __version__
    for page in ("openapi.yaml", "openapi-node.yaml"):
        assert yaml.safe_load((ROOT / "docs" / page).read_text())["info"]["version"] == __version__


def test_the_tarball_has_the_library_its_types_and_its_licence(npm_package: Path) -> None:
    with tarfile.open(npm_package) as archive:
        names = set(archive.getnames())
    library = {f"package/{path.relative_to('client').as_posix()}" for path in in_git("client/src", "client/elements")}
    about = {f"package/{name}" for name in ("README.md", "LICENSE", "package.json", "custom-elements.json")}
    assert library | about <= names
    assert {name for name in names - library if not name.startswith("package/types/")} == about
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


# A worklet is loaded by its address, and imported by nobody.
@pytest.mark.parametrize(
    "check",
    [
        ["publint", "run", "--strict"],
        ["attw", "--profile", "esm-only", "--exclude-entrypoints", "capture-worklet.js", "--"],
    ],
)
def test_the_tarball_is_right_for_bundlers_and_for_types(npm_package: Path, check: list[str]) -> None:
    command = ["npx", "--no-install", *check, str(npm_package)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture
def installed(npm_package: Path, tmp_path: Path) -> Path:
    """A program's folder, with the package installed from its file."""
    (tmp_path / "package.json").write_text('{"name": "program", "private": true, "type": "module"}')
    install = ["npm", "install", "--offline", "--no-audit", "--no-fund", "--silent", str(npm_package)]
    subprocess.run(install, cwd=tmp_path, capture_output=True, check=True)
    return tmp_path


TYPED = """
import 'voxgender/voxgender-voice.js';

const element = document.createElement('voxgender-voice');
element.source = null;
document.querySelector('voxgender-voice')?.show({ label: 'female', confidence: 0.9 });
// @ts-expect-error: it has no such method
element.listen();
"""


def test_the_element_has_its_type_by_its_name(installed: Path) -> None:
    """JSX of React, Preact and Vue is checked with their packages, by `make sdks`."""
    (installed / "typed.ts").write_text(TYPED)
    options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--types", ""]
    command: list[str | Path] = [ROOT / "node_modules" / ".bin" / "tsc", *options, "typed.ts"]
    checked = subprocess.run(command, cwd=installed, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_a_server_imports_all_that_needs_no_framework(installed: Path) -> None:
    """A page that is rendered on a server imports what it imports in a browser."""
    exports = json.loads((CLIENT / "package.json").read_text())["exports"]
    # The worklet runs in an AudioWorklet alone; hooks ask for React and Vue.
    others = {"./capture-worklet.js", "./react", "./vue"}
    paths = [f"voxgender{path[1:]}" for path in exports if path not in others and not path.endswith(".json")]
    assert {"voxgender", "voxgender/voxgender-voice.js", "voxgender/elements/react.js"} <= set(paths)
    program = "".join(f"await import('{path}');" for path in paths) + "console.log(typeof document)"
    command = ["node", "--input-type=module", "--eval", program]
    ran = subprocess.run(command, cwd=installed, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("undefined\n", "")


def test_a_program_imports_the_package_that_it_installed(installed: Path) -> None:
    program = "import * as voxgender from 'voxgender'; console.log(new voxgender.VoxgenderClient('/whip').state)"
    ran = subprocess.run(
        ["node", "--input-type=module", "--eval", program], cwd=installed, capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.stderr) == ("idle\n", "")
