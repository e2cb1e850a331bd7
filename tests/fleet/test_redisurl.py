"""``--registry`` in the forms that clouds and other libraries give, and what is refused at the start."""

from pathlib import Path

import pytest

from voxgender.errors import SettingsError
from voxgender.fleet.redisurl import parse

TLS = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://cache", {"host": "cache", "port": 6379, "db": 0}),
        ("redis://cache:7000/3", {"host": "cache", "port": 7000, "db": 3}),
        ("valkey://cache?db=2", {"host": "cache", "port": 6379, "db": 2}),
        ("redis://[::1]:1/", {"host": "::1", "port": 1, "db": 0}),
        ("redis://:p%40ss%3F@cache", {"host": "cache", "port": 6379, "db": 0, "password": "p@ss?"}),
        ("redis://app:secret@cache", {"host": "cache", "port": 6379, "db": 0, "username": "app", "password": "secret"}),
        ("unix:///run/redis.sock?db=1", {"unix_socket_path": "/run/redis.sock", "db": 1}),
        ("rediss://cache", {"host": "cache", "port": 6379, "db": 0, "ssl": True, **TLS}),
        ("valkeys://cache:25061", {"host": "cache", "port": 25061, "db": 0, "ssl": True, **TLS}),
        ("redis://cache?ssl=true", {"host": "cache", "port": 6379, "db": 0, "ssl": True, **TLS}),
        ("redis://cache?ssl=False", {"host": "cache", "port": 6379, "db": 0}),
        (
            "rediss://cache?ssl_cert_reqs=CERT_NONE",
            {"host": "cache", "port": 6379, "db": 0, "ssl": True, **TLS, "ssl_cert_reqs": "none"},
        ),
        (
            "redis://cache?ssl_check_hostname=no&ssl=1",
            {"host": "cache", "port": 6379, "db": 0, "ssl": True, **TLS, "ssl_check_hostname": False},
        ),
    ],
)
def test_the_usual_forms_are_understood(url: str, wanted: dict[str, object]) -> None:
    arguments = parse(url).arguments()
    assert {name: value for name, value in arguments.items() if value is not None} == wanted


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?wrong_opt=hunter2",
        "redis://h?hunter2",
        "redis://h?decode_responses=true",
        "redis://h?max_connections=0",
        "redis://h?socket_timeout=hunter2",
        "redis://h?ssl=hunter2",
        "redis://h?ssl=true&ssl=false",
        "redis://h?ssl_cert_reqs=none",
        "rediss://h?ssl=false",
        "rediss://h?ssl_cert_reqs=hunter2",
        "rediss://h?ssl_ca_certs=/hunter2.pem",
        "rediss://h?ssl_certfile=/hunter2.pem",
        "rediss://h?ssl_keyfile=/hunter2.pem",
        "unix:///run/redis.sock?ssl=true",
        "unix://host/run/redis.sock",
        "redis://h/hunter2",
        "redis://h/0/1",
        "redis://h?db=-1",
        "redis://:hunter2#x@h",
        "redis://:hun?ter2@h",
        "redis://:hun/ter2@h",
        "redis://a:1,b:2",
        "redis:///0",
        "redis://h:70000",
        "redis+sentinel://h",
        "h:6380,password=hunter2,ssl=True",
        "",
    ],
)
def test_anything_else_is_refused_in_one_line_that_repeats_nothing(url: str) -> None:
    """``?wrong_opt=1`` and ``?ssl=true`` gave a TypeError with each command, and 503 for ever.

    redis-py takes any parameter, and fails when it connects; ``decode_responses`` fails when it reads.
    """
    with pytest.raises(SettingsError, match=r"^--registry \(VOXGENDER_REGISTRY\)") as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_certificate_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    with pytest.raises(SettingsError, match="PEM"):
        parse(f"rediss://h?ssl_ca_certs={file}")
