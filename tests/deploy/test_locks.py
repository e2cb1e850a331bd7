"""Locks of the images, licences of their parts, and the list of parts itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.artifacts import ROOT
from tools import licences, locks


def test_the_locks_hold_every_package_at_its_pinned_version_with_hashes() -> None:
    check = subprocess.run(
        [sys.executable, "tools/locks.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


@pytest.mark.parametrize("name", [*locks.EXTRAS, locks.BUILD])
def test_a_lock_has_a_hash_for_each_line_and_names_no_index(name: str) -> None:
    text = (locks.LOCKS / f"{name}.txt").read_text()
    named = re.findall(r"^(\S+)==", text, re.MULTILINE)
    assert len(named) > 1
    assert sorted(named) == sorted(locks.locked(name))
    assert "index-url" not in text
    assert "://" not in text


def test_a_lock_that_lacks_a_package_or_has_another_version_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (locks.LOCKS / "signaling.txt").read_text()
    text = re.sub(r"^yarl==\S+", "yarl==0.1", text, flags=re.MULTILINE)
    text = re.sub(r"^idna==\S+(?: *\\\n *--hash=\S+)+\n", "", text, flags=re.MULTILINE)
    (tmp_path / "signaling.txt").write_text(text)
    monkeypatch.setattr(locks, "LOCKS", tmp_path)
    told = list(locks.faults("signaling"))
    assert "idna is missing" in told
    assert any(fault.startswith("yarl is 0.1, and pinned at ") for fault in told)


def test_the_page_of_licences_is_current() -> None:
    assert licences.PAGE.read_text() == licences.page(), "run tools/licences.py"


def test_no_part_is_without_a_licence() -> None:
    assert [part.name for part in licences.parts() if not part.licence] == []


def test_what_runs_at_night_is_there() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = {target for run in runs for target in re.findall(r"make (\w+)", run)}
    makefile = (ROOT / "Makefile").read_text()
    assert targets >= {"fuzz", "soak", "audit", "sbom"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
