"""Workflows run the same commands as a contributor does."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.artifacts import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_more_rights_than_each_job_asks_for(path: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert set(job.get("permissions", {})) <= {"id-token", "pages"}
        assert job["steps"]


def test_changes_are_tried_with_the_one_command() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run", "make pythons PYTHONS=python"]
    assert "exec make test" in (ROOT / ".ci/run").read_text()


def test_every_python_that_the_package_names_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    (oldest,) = [step["with"]["python-version"] for step in jobs["test"]["steps"] if "setup-python" in str(step)]
    tried = [oldest, *jobs["pythons"]["strategy"]["matrix"]["python"]]
    assert project["requires-python"] == f">={oldest}"
    assert versions == tried[: len(versions)]


def test_the_quick_tests_are_where_the_makefile_looks_for_them() -> None:
    """A test had another name, and `make unit` ran none at all."""
    show = ["--eval", "show: ; @echo $(UNIT) $(SLOW)", "show"]
    paths = subprocess.run(["make", "--silent", *show], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(paths.split()) > 20
    assert [path for path in paths.split() if not (ROOT / path).exists()] == []


def test_the_container_for_development_sets_up_with_make() -> None:
    assert json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["postCreateCommand"] == "make setup"


def test_forms_for_issues_have_what_the_site_asks_of_them() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.name != "config.yml":
            assert {"name", "description", "body"} <= set(form)
