"""Workflows run the same commands as a contributor does."""

import json
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
        assert set(job.get("permissions", {"id-token": "write"})) == {"id-token"}
        assert job["steps"]


def test_changes_are_tried_with_the_one_command() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert "exec make test" in (ROOT / ".ci/run").read_text()


def test_the_container_for_development_sets_up_with_make() -> None:
    assert json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["postCreateCommand"] == "make setup"


def test_forms_for_issues_have_what_the_site_asks_of_them() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.name != "config.yml":
            assert {"name", "description", "body"} <= set(form)
