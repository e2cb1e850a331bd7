"""Read ``docs/deployment``: each place that starts a role, with the environment that the role gets."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hcl2
import yaml

ROOT = Path(__file__).parents[2]
DEPLOYMENT = ROOT / "docs" / "deployment"
LAN_ADDRESS = "192.168.1.20"
_HCL = hcl2.SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)


class Start(NamedTuple):
    """A role as some file starts it. What a secret holds is some text that will do."""

    where: str
    role: str
    environment: dict[str, str]


def text(path: str) -> str:
    return (DEPLOYMENT / path).read_text()


def documents(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text(path)))


def manifest(path: str, kind: str, name: str) -> dict[str, Any]:
    """One object of a file of many."""
    (found,) = [each for each in documents(path) if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pod(path: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifest(path, "Deployment", name)["spec"]["template"]["spec"]
    return found


def compose() -> dict[str, Any]:
    """The laptop's services, their variables filled in as a user would."""

    def value(found: re.Match[str]) -> str:
        return LAN_ADDRESS if found["name"] == "LAN_ADDRESS" else found["default"] or ""

    filled = re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}", value, text("laptop/compose.yaml"))
    services: dict[str, Any] = yaml.safe_load(filled)["services"]
    return services


def terraform(path: str) -> dict[str, Any]:
    """A file of Terraform: attributes as they are, blocks in lists, expressions as texts in ``${}``."""
    parsed: dict[str, Any] = hcl2.loads(text(path), serialization_options=_HCL)
    return parsed


def block(path: str, *labels: str) -> dict[str, Any]:
    """One block of a file of Terraform, by its kind and its labels: ``resource``, ``google_…``, ``media``."""
    kind, *names = labels
    found: list[dict[str, Any]] = terraform(path)[kind]
    for name in names:
        found = [inner[name] for inner in found if name in inner]
    (only,) = found
    return only


def allowed_ports(path: str, firewall: str) -> dict[str, list[str]]:
    """The ports that a firewall opens, by protocol."""
    return {
        allow["protocol"]: allow["ports"]
        for allow in block(path, "resource", "google_compute_firewall", firewall)["allow"]
    }


def heredoc(path: str, word: str) -> list[str]:
    """The lines of a shell script's here-document."""
    return text(path).partition(f"<<{word}\n")[2].partition(f"\n{word}\n")[0].splitlines()


def script_constants(path: str) -> dict[str, str]:
    """Return the variables that a shell script sets with ``readonly``."""
    lines = re.findall(r"^readonly (.*)$", text(path), re.MULTILINE)
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(lines)))


def starts() -> Iterator[Start]:
    """Every place where a role is started."""
    yield Start("cloud-run", "signaling", _listed(documents("cloud-run/service.yaml")[0]["spec"]["template"]["spec"]))
    alone = documents("cloud-run-alone/service.yaml")[0]["spec"]["template"]["spec"]
    yield Start("cloud-run-alone", "serve", _listed(alone))
    media = _listed(pod("gke/base/media.yaml", "media"))
    yield Start("gke/whole", "media", media)
    yield Start("gke/media", "media", media | _listed(pod("gke/media/registry.yaml", "media")))
    yield Start("gke/whole", "signaling", _listed(pod("gke/whole/signaling.yaml", "signaling")))
    for name, service in compose().items():
        if "build" in service:
            yield Start(f"laptop/{name}", service["build"]["target"], service["environment"])
    yield Start("gce", "media", _written("gce/startup.sh"))
    yield Start("terraform", "signaling", _terraform("terraform/signaling.tf"))


def _listed(spec: dict[str, Any]) -> dict[str, str]:
    environment: dict[str, str] = {"HOST_IP": "10.0.0.7"}
    for variable in spec["containers"][0]["env"]:
        name = variable["name"]
        environment.setdefault(name, _secret(name) if "valueFrom" in variable else variable["value"])
        environment[name] = environment[name].replace("$(HOST_IP)", environment["HOST_IP"])
    del environment["HOST_IP"]
    return environment


def _written(path: str) -> dict[str, str]:
    """The environment file that a script writes."""
    known = script_constants(path) | {"address": "10.0.0.7"}
    environment = dict(line.split("=", 1) for line in heredoc(path, "ENVIRONMENT"))
    for name, value in environment.items():
        found = re.sub(r"\$\{?(\w+)[^}:]*\}?", lambda match: known.get(match[1], "x"), value)
        environment[name] = _secret(name) if value.startswith("$(secret") else found
    return environment


def _terraform(path: str) -> dict[str, str]:
    values = {
        "VOXGENDER_ICE_SERVER": "turn:turn.example.org,turns:turn.example.org?transport=tcp",
        "VOXGENDER_ALLOW_ORIGIN": "https://www.example.org",
    }
    known = block(path, "locals")
    values |= dict(re.findall(r"(VOXGENDER_TRUSTED_PROXY) = [\"]?([0-9./,]+)", known["signaling_environment"]))
    named = re.findall(r"\b(VOXGENDER_\w+) = ", known["signaling_environment"] + known["signaling_secrets"])
    return {name: values.get(name, _secret(name)) for name in named} | values


def _secret(name: str) -> str:
    return "redis://:password@10.0.0.3:6379" if name == "VOXGENDER_REGISTRY" else "0123456789abcdef" * 4
