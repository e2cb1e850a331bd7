"""What one file says, others rely on: ports, times, names of images and of secrets."""

import re
import runpy
import subprocess
import sys
from typing import Any

import pytest

from tests.deploy.artifacts import ROOT, Start, compose, documents, manifest, pod, script_constants, starts, text
from voxgender.fleet.directory import REFRESH_S
from voxgender.fleet.registry import RENEW_S
from voxgender.media.session import DELIVERY_TIMEOUT_S, FLUSH_TIMEOUT_S
from voxgender.options import read
from voxgender.roles.hosting import SHUTDOWN_S
from voxgender.settings import HttpOptions, MediaSettings

CAPACITY = runpy.run_path(str(ROOT / "tools/capacity.py"))
NODE_MACHINE = "t2d-standard-2"
STARTS = list(starts())
MEDIA = [start for start in STARTS if start.role == "media"]
END_S = FLUSH_TIMEOUT_S + 2 * DELIVERY_TIMEOUT_S + SHUTDOWN_S
"""What a node takes to end its last calls, once their time to move is up."""
SHUTDOWN_OF_A_MACHINE_S = 90
"""https://cloud.google.com/compute/docs/instances/deleting-instance: what a machine's own shutdown gets."""


def drain_s(where: str) -> float:
    (found,) = [read(MediaSettings, {}, start.environment).drain for start in MEDIA if start.where == where]
    return found.drain_timeout_s


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_a_pod_gets_the_time_that_its_calls_need_to_move() -> None:
    assert pod("gke/base/media.yaml", "media")["terminationGracePeriodSeconds"] > drain_s("gke/whole") + END_S


def test_a_machine_gets_the_time_that_its_calls_need_to_move() -> None:
    stop_s = float(script_constants("gce/startup.sh")["STOP_S"])
    assert drain_s("gce") + END_S < stop_s < SHUTDOWN_OF_A_MACHINE_S
    (unit_s,) = re.findall(r"^TimeoutStopSec=\$\(\(STOP_S \+ (\d+)\)\)$", text("gce/startup.sh"), re.MULTILINE)
    assert stop_s < stop_s + float(unit_s) <= SHUTDOWN_OF_A_MACHINE_S


@pytest.mark.parametrize("name", ["media-1", "media-2"])
def test_a_container_gets_the_time_that_its_calls_need_to_move(name: str) -> None:
    assert seconds(compose()[name]["stop_grace_period"]) > drain_s(f"laptop/{name}") + END_S


def test_signaling_gets_the_time_for_the_requests_in_hand() -> None:
    spec = pod("gke/whole/signaling.yaml", "signaling")
    pause_s = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > pause_s + SHUTDOWN_S


def test_readers_of_events_are_not_cut_off_early() -> None:
    assert documents("cloud-run/service.yaml")[0]["spec"]["template"]["spec"]["timeoutSeconds"] == 3600
    assert 'timeout                          = "3600s"' in text("terraform/signaling.tf")
    assert manifest("gke/whole/signaling.yaml", "BackendConfig", "signaling")["spec"]["timeoutSec"] == 3600


def test_media_ports_are_open() -> None:
    (opened,) = re.findall(r'protocol = "udp"\s+ports +?= \["([\d-]+)"\]', text("terraform/network.tf"))
    ranges = {start.environment["VOXGENDER_UDP_PORTS"] for start in MEDIA if not start.where.startswith("laptop")}
    assert ranges == {opened}


@pytest.mark.parametrize("start", [each for each in MEDIA if "laptop" in each.where], ids=lambda start: start.where)
def test_a_laptops_containers_publish_the_ports_that_they_use(start: Start) -> None:
    ports = start.environment["VOXGENDER_UDP_PORTS"]
    assert compose()[start.where.removeprefix("laptop/")]["ports"] == [f"{ports}:{ports}/udp"]


def test_the_port_between_signaling_and_media_is_one() -> None:
    port = str(HttpOptions().port)
    assert script_constants("gce/startup.sh")["HTTP_PORT"] == port
    assert f'protocol = "tcp"\n    ports    = ["{port}"]' in text("terraform/network.tf")
    assert f"port         = {port}" in text("terraform/gce.tf")
    assert f"EXPOSE {port}\n" in (ROOT / "Dockerfile").read_text()
    service = manifest("gke/base/media.yaml", "Service", "media")
    assert [str(each["port"]) for each in service["spec"]["ports"]] == [port]
    for start in STARTS:
        if start.environment.get("VOXGENDER_NODE_ADDRESS"):
            assert start.environment["VOXGENDER_NODE_ADDRESS"].endswith(f":{port}")
    containers = [pod("gke/base/media.yaml", "media"), pod("gke/whole/signaling.yaml", "signaling")]
    containers.append(documents("cloud-run/service.yaml")[0]["spec"]["template"]["spec"])
    assert {str(each["containers"][0]["ports"][0]["containerPort"]) for each in containers} == {port}


def test_signaling_in_a_cluster_asks_for_the_name_of_the_nodes() -> None:
    (start,) = [each for each in STARTS if (each.where, each.role) == ("gke/whole", "signaling")]
    service = manifest("gke/base/media.yaml", "Service", "media")
    namespace = documents("gke/whole/kustomization.yaml")[0]["namespace"]
    assert service["spec"]["clusterIP"] == "None"
    name = f"{service['metadata']['name']}.{namespace}.svc.cluster.local"
    assert start.environment["VOXGENDER_NODES"] == f"dns:{name}:{service['spec']['ports'][0]['port']}"


def test_what_is_scaled_and_guarded_is_what_is_deployed() -> None:
    labels = manifest("gke/base/media.yaml", "Deployment", "media")["spec"]["template"]["metadata"]["labels"]
    for kind, path, name in (
        ("Service", "gke/base/media.yaml", "media"),
        ("PodDisruptionBudget", "gke/base/media.yaml", "media"),
        ("PodMonitor", "gke/base/autoscaling.yaml", "media"),
    ):
        selector = manifest(path, kind, name)["spec"]["selector"]
        assert selector.get("matchLabels", selector) == labels
    scaled: dict[str, Any] = manifest("gke/base/autoscaling.yaml", "ScaledObject", "media")["spec"]
    assert scaled["scaleTargetRef"]["name"] == "media"
    assert float(scaled["triggers"][0]["metadata"]["threshold"]) == CAPACITY["CALLS_HELD"] * CAPACITY["FILL"]


def test_a_node_takes_as_many_calls_as_it_was_measured_to_hold() -> None:
    for start in MEDIA:
        if not start.where.startswith("laptop"):
            assert read(MediaSettings, {}, start.environment).media.max_sessions == CAPACITY["CALLS_HELD"]


def test_the_tables_of_sizing_and_scale_are_current() -> None:
    check = subprocess.run(
        [sys.executable, "tools/capacity.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_capacity_reckons_with_the_machines_and_the_times_that_there_are() -> None:
    assert f'default     = "{NODE_MACHINE}"' in text("terraform/variables.tf")
    assert f"# {NODE_MACHINE} " in (ROOT / "tools/capacity.py").read_text()
    assert CAPACITY["NODE_COMMANDS_S"] == pytest.approx(2 / RENEW_S)
    assert CAPACITY["INSTANCE_COMMANDS_S"] == pytest.approx(2 / REFRESH_S)


def test_the_turn_servers_ports_are_open_and_told() -> None:
    configured = dict(re.findall(r"^((?:tls-)?listening-port|m\w\w-port)=(\d+)$", text("gce/turn.sh"), re.MULTILINE))
    udp, tcp = re.findall(r"ports += (\[.*\])", text("terraform/turn.tf"))
    assert f'"{configured["listening-port"]}"' in udp
    assert f'"{configured["min-port"]}-{configured["max-port"]}"' in udp
    assert {f'"{configured[name]}"' for name in ("listening-port", "tls-listening-port")} <= set(tcp[1:-1].split(", "))
    # RFC 8656 section 18.2 and RFC 7065: what turn: and turns: mean where no port is told.
    assert (configured["listening-port"], configured["tls-listening-port"]) == ("3478", "5349")


def test_images_are_targets_of_the_dockerfile() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert {"signaling", "media"} <= targets
    for start in STARTS:
        assert start.role in targets
    for path in ("cloud-run/service.yaml", "gke/base/media.yaml", "gke/whole/signaling.yaml"):
        named = re.findall(r"image: REGION-docker\.pkg\.dev/PROJECT/voxgender/(\w+):VERSION", text(path))
        assert named
        assert set(named) <= targets


def test_secrets_are_made_and_may_be_read() -> None:
    terraform = text("terraform/secrets.tf")
    made = set(re.findall(r"^    (voxgender-[\w-]+) +=", terraform, re.MULTILINE))
    for path, reader in (
        ("cloud-run/service.yaml", "signaling"),
        ("terraform/signaling.tf", "signaling"),
        ("gce/startup.sh", "media"),
        ("gce/turn.sh", "turn"),
    ):
        used = set(re.findall(r"(?:name: |= \"|\(secret )(voxgender-(?:\w+-)?(?:secret|registry))\b", text(path)))
        assert used, path
        assert used <= made, path
        # Signaling reads them all.
        readable = re.findall(rf'(?:"{reader}/|for name in \[)([^=]*)', terraform)
        assert reader == "signaling" or all(any(name in line for line in readable) for name in used), path
