"""The files of ``docs/deployment/ray`` are what Ray, Kubernetes and ``voxgender pool`` take them for."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.artifacts import ROOT, documents, manifest, text
from tests.deploy.test_syntax import KUBERNETES
from voxgender.options import read
from voxgender.settings import POOL_PORT, ClassifierOptions, ModelOptions, PoolSettings

SERVICE = "ray/rayservice.yaml"


def service() -> dict[str, Any]:
    found: dict[str, Any] = manifest(SERVICE, "RayService", "voxgender-pool")["spec"]
    return found


def serve_configs() -> list[dict[str, Any]]:
    return [documents("ray/serve.yaml")[0], yaml.safe_load(service()["serveConfigV2"])]


# Ray's own schema warns.
@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("config", serve_configs(), ids=["serve.yaml", "rayservice.yaml"])
def test_ray_serve_takes_the_application_and_the_pool_its_options(config: dict[str, Any]) -> None:
    from ray.serve.schema import ServeDeploySchema

    from voxgender.pool.replica import NAME, application
    from voxgender.pool.wire import PATH

    told = ServeDeploySchema(**config)
    (app,) = told.applications
    assert (app.name, app.route_prefix) == (NAME, PATH)
    assert app.import_path == f"{application.__module__}:{application.__name__}"
    assert told.http_options.port == POOL_PORT
    settings = read(PoolSettings, app.args, {})
    assert settings.model == ClassifierOptions()
    deployment = application(app.args)._bound_deployment
    assert deployment.name == "Replica"
    autoscaling = deployment._deployment_config.autoscaling_config
    assert autoscaling is not None
    assert (autoscaling.min_replicas, autoscaling.max_replicas) == settings.pool.replica_range == (2, 16)


def test_both_configurations_say_the_same() -> None:
    one, other = serve_configs()
    assert one == other


def test_rays_launcher_takes_the_cluster() -> None:
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(documents("ray/cluster.yaml")[0], schema)


def test_kubernetes_takes_the_pods_and_the_policy() -> None:
    groups = [service()["rayClusterConfig"]["headGroupSpec"], *service()["rayClusterConfig"]["workerGroupSpecs"]]
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"} | group["template"]["metadata"]}
        kubernetes_validate.validate(pod | {"spec": group["template"]["spec"]}, KUBERNETES, strict=True)
        assert group["template"]["metadata"]["labels"] == policy()["spec"]["podSelector"]["matchLabels"]
    kubernetes_validate.validate(policy(), KUBERNETES, strict=True)
    opened = [port["port"] for rule in policy()["spec"]["ingress"] for port in rule.get("ports", ())]
    assert opened == [POOL_PORT]


def policy() -> dict[str, Any]:
    return manifest(SERVICE, "NetworkPolicy", "voxgender-pool")


def test_all_of_it_has_one_version_of_ray_and_asks_for_a_token_and_tells_no_usage() -> None:
    pinned = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    told = re.findall(r"(?:rayproject/ray:|rayVersion: |ray\[serve\]==)(\d+\.\d+\.\d+)", "".join(map(text, FILES)))
    assert set(told) == set(pinned)
    assert len(told) == 3
    assert service()["rayClusterConfig"]["authOptions"] == {"mode": "token"}
    starts = [line for line in text("ray/cluster.yaml").splitlines() if "ray start" in line]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line and "RAY_USAGE_STATS_ENABLED=0" in line for line in starts)
    assert text(SERVICE).count("RAY_USAGE_STATS_ENABLED") == text(SERVICE).count("image:")


FILES = ("ray/Dockerfile", "ray/cluster.yaml", SERVICE)


def test_nodes_in_the_cluster_find_the_service() -> None:
    (address,) = re.findall(r"VOXGENDER_INFERENCE=(\S+)", text("ray.md"))
    name = manifest(SERVICE, "RayService", "voxgender-pool")["metadata"]["name"]
    assert read(ModelOptions, {}, {"VOXGENDER_INFERENCE": address}).pool == (f"{name}-serve-svc", POOL_PORT)
