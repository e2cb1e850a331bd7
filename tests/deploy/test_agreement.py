"""Files agree on ports, times, names of images and of secrets."""

import re
import subprocess
import sys
from typing import Any

import pytest

from tests.deploy.artifacts import (
    ROOT,
    Start,
    allowed_ports,
    block,
    compose,
    documents,
    heredoc,
    manifest,
    pod,
    script_constants,
    starts,
    text,
)
from tools import capacity
from tools.dockerfile_steps import stages
from voxgender.fleet.directory import REFRESH_S
from voxgender.fleet.registry import RENEW_S
from voxgender.media.livesession import DELIVERY_TIMEOUT_S, FLUSH_TIMEOUT_S
from voxgender.options import read
from voxgender.roles.hosting import SHUTDOWN_S
from voxgender.settings import HttpOptions, MediaSettings

STAGES = stages((ROOT / "Dockerfile").read_text())
NODE_MACHINE = "t2d-standard-2"
STARTS = list(starts())
MEDIA = [start for start in STARTS if start.role == "media"]
CLOUD_RUN_KILLS_S = 10.0
"""After SIGTERM."""
END_S = FLUSH_TIMEOUT_S + 2 * DELIVERY_TIMEOUT_S + SHUTDOWN_S
"""Time that a node takes to end its last calls, once their time to move is up."""
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
    unit = dict(line.split("=", 1) for line in heredoc("gce/startup.sh", "UNIT") if "=" in line)
    found = re.fullmatch(r"\$\(\(\s*STOP_S\s*\+\s*(\d+)\s*\)\)", unit["TimeoutStopSec"])
    assert found is not None
    unit_s = found[1]
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
    service = block("terraform/signaling.tf", "resource", "google_cloud_run_v2_service", "signaling")
    assert service["template"][0]["timeout"] == "3600s"
    assert manifest("gke/whole/signaling.yaml", "BackendConfig", "signaling")["spec"]["timeoutSec"] == 3600


def test_all_of_it_on_cloud_run_ends_and_resumes_within_what_cloud_run_gives() -> None:
    spec = documents("cloud-run-alone/service.yaml")[0]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    environment = next(start.environment for start in STARTS if start.where == "cloud-run-alone")
    assert spec["timeoutSeconds"] == 3600
    assert float(environment["VOXGENDER_DRAIN_TIMEOUT_S"]) + END_S <= CLOUD_RUN_KILLS_S
    assert spec["containerConcurrency"] > int(environment["VOXGENDER_MAX_SESSIONS"])
    assert container["startupProbe"]["httpGet"]["path"] == "/health/ready"
    assert (container["args"], environment["VOXGENDER_NO_UDP"]) == (["serve"], "true")
    command = text("cloud-run-alone.md")
    for name in ("NO_UDP", "MAX_SESSIONS", "DRAIN_TIMEOUT_S"):
        assert f"VOXGENDER_{name}={environment[f'VOXGENDER_{name}']}" in command
    assert f"--timeout {spec['timeoutSeconds']} " in command
    assert f"--concurrency {spec['containerConcurrency']} " in command


def test_media_ports_are_open() -> None:
    (opened,) = allowed_ports("terraform/network.tf", "media")["udp"]
    ranges = {start.environment["VOXGENDER_UDP_PORTS"] for start in MEDIA if not start.where.startswith("laptop")}
    assert ranges == {opened}


@pytest.mark.parametrize("start", [each for each in MEDIA if "laptop" in each.where], ids=lambda start: start.where)
def test_a_laptops_containers_publish_the_ports_that_they_use(start: Start) -> None:
    ports = start.environment["VOXGENDER_UDP_PORTS"]
    assert compose()[start.where.removeprefix("laptop/")]["ports"] == [f"{ports}:{ports}/udp"]


def test_the_port_between_signaling_and_media_is_one() -> None:
    port = str(HttpOptions().port)
    assert script_constants("gce/startup.sh")["HTTP_PORT"] == port
    assert allowed_ports("terraform/network.tf", "signaling") == {"tcp": [port]}
    check = block("terraform/gce.tf", "resource", "google_compute_region_health_check", "media")
    assert str(check["http_health_check"][0]["port"]) == port
    cloud_run = block("terraform/signaling.tf", "resource", "google_cloud_run_v2_service", "signaling")
    (container,) = cloud_run["template"][0]["containers"]
    assert str(container["ports"][0]["container_port"]) == port
    assert ("EXPOSE", port) in STAGES["runtime"].instructions
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
    assert float(scaled["triggers"][0]["metadata"]["threshold"]) == capacity.CALLS_HELD * capacity.FILL


def test_a_node_takes_as_many_calls_as_it_was_measured_to_hold() -> None:
    for start in MEDIA:
        if not start.where.startswith("laptop"):
            assert read(MediaSettings, {}, start.environment).media.max_sessions == capacity.CALLS_HELD


def test_the_tables_of_sizing_and_scale_are_current() -> None:
    check = subprocess.run(
        [sys.executable, "tools/capacity.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_capacity_reckons_with_the_machines_and_the_times_that_there_are() -> None:
    assert block("terraform/variables.tf", "variable", "media_machine_type")["default"] == NODE_MACHINE
    assert f"# {NODE_MACHINE} " in (ROOT / "tools/capacity.py").read_text()
    assert pytest.approx(2 / RENEW_S) == capacity.NODE_COMMANDS_S
    assert pytest.approx(2 / REFRESH_S) == capacity.INSTANCE_COMMANDS_S


def test_the_turn_servers_ports_are_open_and_told() -> None:
    configured = dict(line.split("=", 1) for line in heredoc("gce/turn.sh", "CONFIGURATION") if "=" in line)
    allowed = allowed_ports("terraform/turn.tf", "turn")
    assert set(allowed["udp"]) == {configured["listening-port"], f"{configured['min-port']}-{configured['max-port']}"}
    assert {configured["listening-port"], configured["tls-listening-port"]} <= set(allowed["tcp"])
    # RFC 8656 section 18.2 and RFC 7065: what turn: and turns: mean where no port is told.
    assert (configured["listening-port"], configured["tls-listening-port"]) == ("3478", "5349")


def test_images_are_targets_of_the_dockerfile() -> None:
    assert {"signaling", "media"} <= STAGES.keys()
    for start in STARTS:
        assert start.role in STAGES or start.role == "serve"
    specs = {
        "signaling": documents("cloud-run/service.yaml")[0]["spec"]["template"]["spec"],
        "media": pod("gke/base/media.yaml", "media"),
    }
    for target, spec in [*specs.items(), ("signaling", pod("gke/whole/signaling.yaml", "signaling"))]:
        images = [container["image"] for container in spec["containers"]]
        assert images == [f"REGION-docker.pkg.dev/PROJECT/voxgender/{target}:VERSION"]


def test_secrets_are_made_and_may_be_read() -> None:
    known = block("terraform/secrets.tf", "locals")
    made, readers = known["secrets"].keys(), known["readers"]
    kept = block("terraform/secrets.tf", "resource", "google_secret_manager_secret", "voxgender")["for_each"]
    assert set(re.findall(r'"([\w-]+)"', kept)) == made
    service = documents("cloud-run/service.yaml")[0]["spec"]["template"]["spec"]
    variables = [variable for container in service["containers"] for variable in container["env"]]
    by_service = {each["valueFrom"]["secretKeyRef"]["name"] for each in variables if "valueFrom" in each}
    by_terraform = set(re.findall(r'= "([\w-]+)"', block("terraform/signaling.tf", "locals")["signaling_secrets"]))
    assert by_service == by_terraform == made
    assert 'for name in keys(local.secrets) : "signaling/${name}"' in readers
    (by_media,) = re.findall(r'for name in \[([^]]*)\] : "media/', readers)
    assert secrets_of("gce/startup.sh") == set(re.findall(r'"([\w-]+)"', by_media)) <= made
    assert secrets_of("gce/turn.sh") == set(re.findall(r'"turn/([\w-]+)"', readers)) <= made


def secrets_of(path: str) -> set[str]:
    """The secrets that a script asks for."""
    return set(re.findall(r"\$\(secret ([\w-]+)\)", text(path)))
