"""A media machine's start-up script, run: what the cloud would answer is made up, all else is real."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.deploy.artifacts import DEPLOYMENT, script_constants
from voxgender.options import read
from voxgender.roles.media import node_url
from voxgender.settings import MediaSettings

IMAGE = "europe-west1-docker.pkg.dev/acme/voxgender/media:1.2.3"
# The forms of the metadata server and of Secret Manager, which spreads its JSON over lines.
CURL = """#!/bin/sh
for url; do :; done
case "$url" in
  */project/project-id) printf acme ;;
  */instance/zone) printf projects/123/zones/europe-west1-b ;;
  */network-interfaces/0/ip) printf 10.10.0.7 ;;
  */attributes/voxgender-image) printf IMAGE ;;
  */service-accounts/default/token) printf '{"access_token":"ya29.token","expires_in":3599,"token_type":"Bearer"}' ;;
  */projects/acme/secrets/voxgender-secret/versions/latest:access)
    printf '{\\n  "name": "projects/1/secrets/s/versions/1",\\n  "payload": {\\n    "data": "%s"\\n  }\\n}\\n' \\
      "$(printf 'a long secret' | base64)" ;;
  */projects/acme/secrets/voxgender-registry/versions/latest:access)
    printf '{\\n  "payload": {\\n    "data": "%s"\\n  }\\n}\\n' "$(printf 'redis://:word@10.0.0.3:6379' | base64)" ;;
  *) exit 22 ;;
esac
"""
RECORD = '#!/bin/sh\necho "${0##*/} $*" >>"$CALLS"\n'
# The script writes to a file system of this run alone.
ALONE = """
mount -t tmpfs none /etc/systemd/system
mount -t tmpfs none /var/lib
bash "$1"
cp -r /etc/systemd/system /var/lib/voxgender "$2"
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that the script has left: ``calls``, ``voxgender/environment``, ``system/voxgender.service``."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or not Path("/etc/systemd/system").is_dir():
        pytest.skip("needs root, unshare (util-linux) and a folder of systemd's")
    folder = tmp_path_factory.mktemp("machine")
    programs = folder / "bin"
    programs.mkdir()
    for name, text in {"curl": CURL.replace("IMAGE", IMAGE), "iptables": RECORD, "systemctl": RECORD}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(folder / "calls")}
    command = ["unshare", "--mount", "sh", "-ec", ALONE, "sh", str(DEPLOYMENT / "gce/startup.sh"), str(folder)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "a long secret" not in run.stdout + run.stderr
    return folder


def test_a_node_is_given_what_it_needs(started: Path) -> None:
    written = (started / "voxgender" / "environment").read_text()
    settings = read(MediaSettings, {}, dict(line.split("=", 1) for line in written.splitlines()))
    assert settings.fleet.secret == "a long secret"
    assert settings.fleet.registry == "redis://:word@10.0.0.3:6379"
    assert settings.fleet.region == "europe-west1"
    assert settings.media.ice_address == ("10.10.0.7",)
    assert settings.media.advertise_address == ("gcp",)
    assert node_url(settings, settings.http.port) == "http://10.10.0.7:8080"


def test_secrets_are_for_root_alone(started: Path) -> None:
    assert stat.S_IMODE((started / "voxgender" / "environment").stat().st_mode) == 0o600


def test_its_service_runs_the_image_and_drains_it(started: Path) -> None:
    unit = (started / "system" / "voxgender.service").read_text()
    assert f"--env-file /var/lib/voxgender/environment {IMAGE}\n" in unit
    assert "configure-docker --registries=europe-west1-docker.pkg.dev\n" in unit
    assert f"docker stop --time {script_constants('gce/startup.sh')['STOP_S']} voxgender\n" in unit
    assert "$" not in unit


def test_the_machine_lets_media_in_and_starts_the_service(started: Path) -> None:
    calls = (started / "calls").read_text()
    assert "--protocol udp --dport 20000:29999 --jump ACCEPT" in calls
    assert "--protocol tcp --dport 8080 --jump ACCEPT" in calls
    assert calls.endswith("systemctl daemon-reload\nsystemctl restart voxgender.service\n")
