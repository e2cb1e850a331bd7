"""Each file is what its reader will take it for."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.artifacts import DEPLOYMENT, LAN_ADDRESS, documents, terraform

KUBERNETES = "1.30"
"""The oldest version that the manifests are for."""
CUSTOM = {"PodMonitor", "ScaledObject", "BackendConfig", "ManagedCertificate", "Kustomization"}
"""Kinds that Kubernetes itself does not know."""

MANIFESTS = sorted(DEPLOYMENT.glob("gke/**/*.yaml"))
TERRAFORM = sorted(DEPLOYMENT.glob("terraform/*.tf"))


def ids(path: Path) -> str:
    return str(path.relative_to(DEPLOYMENT))


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None)


@pytest.mark.parametrize("path", MANIFESTS, ids=ids)
def test_kubernetes_takes_it(path: Path) -> None:
    # A patch is no whole object.
    is_patch = path.name == "registry.yaml"
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] in CUSTOM or is_patch:
            assert document["apiVersion"].count("/") == 1
        else:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("path", sorted(DEPLOYMENT.glob("gke/*/kustomization.yaml")), ids=ids)
def test_kustomizations_name_what_is_there(path: Path) -> None:
    (document,) = documents(str(path.relative_to(DEPLOYMENT)))
    named = [*document["resources"], *(patch["path"] for patch in document.get("patches", ()))]
    assert named
    assert all((path.parent / name).exists() for name in named)


@pytest.mark.parametrize("name", ["whole", "media"])
def test_kustomize_builds_it(name: str) -> None:
    built = run(tool("kubectl"), "kustomize", str(DEPLOYMENT / "gke" / name))
    assert built.returncode == 0, built.stderr
    kinds = [document["kind"] for document in yaml.safe_load_all(built.stdout)]
    assert kinds.count("Deployment") == (2 if name == "whole" else 1)
    assert ("VOXGENDER_REGISTRY" in built.stdout) == (name == "media")


def test_compose_takes_the_laptops_file() -> None:
    docker = tool("docker")
    if run(docker, "compose", "version").returncode:
        pytest.skip("docker has no compose plugin")
    path = DEPLOYMENT / "laptop" / "compose.yaml"
    assert run(docker, "compose", "-f", str(path), "config", "--quiet").returncode != 0
    checked = run(docker, "compose", "-f", str(path), "config", "--quiet", LAN_ADDRESS=LAN_ADDRESS)
    assert checked.returncode == 0, checked.stderr


def test_terraform_is_formatted() -> None:
    formatted = run(tool("terraform"), "fmt", "-check", "-diff", str(DEPLOYMENT / "terraform"))
    assert formatted.returncode == 0, formatted.stdout


def test_terraform_uses_what_it_declares_and_declares_what_it_uses() -> None:
    """``terraform validate`` needs the providers for this check."""
    blocks: dict[str, list[dict[str, Any]]] = {}
    for path in TERRAFORM:
        for kind, found in terraform(f"terraform/{path.name}").items():
            blocks.setdefault(kind, []).extend(found)
    text = "\n".join(path.read_text() for path in TERRAFORM)
    declared = {
        "var": {name for block in blocks["variable"] for name in block},
        "local": {name for block in blocks["locals"] for name in block},
    }
    for kind, known in declared.items():
        assert set(re.findall(rf"\b{kind}\.(\w+)", text)) == known
    resources = {f"{kind}.{name}" for block in blocks["resource"] for kind, named in block.items() for name in named}
    resources |= {f"data.{kind}.{name}" for block in blocks["data"] for kind, named in block.items() for name in named}
    used = re.findall(r"(?<![\w.\"/])((?:data\.)?(?:google|random)_\w+\.\w+)", text)
    assert set(used) <= resources
    for name in re.findall(r'file\("\$\{path\.module\}/([^"]+)"\)', text):
        assert (DEPLOYMENT / "terraform" / name).is_file()
