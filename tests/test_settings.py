"""Options of the server's roles and of the analysis."""

from typing import Any

import pytest

from tests.options import given
from voxgender.errors import SettingsError
from voxgender.options import options_of, read
from voxgender.peer.options import TokenOptions
from voxgender.settings import (
    ROLES,
    AuthOptions,
    ClassifySettings,
    HttpOptions,
    MediaOptions,
    MediaSettings,
    MetricsOptions,
    ModelOptions,
    NodeSettings,
    PoolSettings,
    ServeSettings,
    SignalingSettings,
)

SAID: dict[str, tuple[str, Any]] = {
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("1", 1),
    "model": ("off", "off"),
    "model_revision": ("v2", "v2"),
    "labels": ("female=LABEL_0,male=LABEL_1", ("female=LABEL_0", "male=LABEL_1")),
    "ice_address": ("192.0.2.1, 2001:db8::1,", ("192.0.2.1", "2001:db8::1")),
    "ice_server": ("stun:a,stun:b", ("stun:a", "stun:b")),
    "token": ("secret", "secret"),
    "allow_origin": ("https://a.example", ("https://a.example",)),
    "max_sessions": ("3", 3),
    "inference_threads": ("2", 2),
    "precision": ("int8", "int8"),
    "device": ("cuda", "cuda"),
    "inference": ("local", "local"),
    "window_ms": ("2000", 2_000),
    "hop_ms": ("320", 320),
    "connect_timeout_s": ("1.5", 1.5),
    "silence_timeout_s": ("30", 30.0),
    "log_level": ("debug", "debug"),
    "workers": ("2", 2),
    "advertise_address": ("198.51.100.7", ("198.51.100.7",)),
    "udp_ports": ("40000-40100", "40000-40100"),
    "no_udp": ("true", True),
    "secret": ("shared", "shared"),
    "registry": ("redis://cache:6379/0", "redis://cache:6379/0"),
    "nodes": ("http://a:1,dns:b:2", ("http://a:1", "dns:b:2")),
    "node_address": ("http://a:1", "http://a:1"),
    "region": ("eu", "eu"),
    "drain_timeout_s": ("5", 5.0),
    "webhook": ("https://app.example/voices", "https://app.example/voices"),
    "webhook_secret": ("whsec_one,whsec_two", ("whsec_one", "whsec_two")),
    "turn_secret": ("x", "x"),
    "turn_ttl_s": ("600", 600),
    "jwt_secret": ("y", "y"),
    "jwt_keys": ("/keys", "/keys"),
    "jwt_audience": ("a", "a"),
    "jwt_issuer": ("i", "i"),
    "max_sessions_per_subject": ("2", 2),
    "offers_per_minute": ("300", 300),
    "trusted_proxy": ("10.0.0.0/8,192.0.2.1", ("10.0.0.0/8", "192.0.2.1")),
    "path_prefix": ("/voice", "/voice"),
    "metrics_address": ("127.0.0.1:9090", "127.0.0.1:9090"),
}
"""A text in the environment for every option, and its value."""


def values(settings: object) -> dict[str, Any]:
    """Every option's value, whatever its group."""
    return {option.name: option.default for option in options_of(type(settings), settings)}


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_read_from_the_environment(role: str) -> None:
    environ = {f"VOXGENDER_{name.upper()}": text for name, (text, _) in SAID.items()}
    loaded = values(read(ROLES[role], {}, environ))
    assert loaded == {name: value for name, (_, value) in SAID.items() if name in loaded}


def test_every_option_has_a_role() -> None:
    assert {option.name for kind in ROLES.values() for option in options_of(kind)} == set(SAID)


@pytest.mark.parametrize("kind", [*ROLES.values(), ClassifySettings])
def test_a_name_stands_for_one_option(kind: type) -> None:
    names = [option.name for option in options_of(kind)]
    assert len(set(names)) == len(names)


def test_roles_know_their_own_options_and_no_others() -> None:
    roles = {
        name: {role for role, kind in ROLES.items() if name in {option.name for option in options_of(kind)}}
        for name in SAID
    }
    assert {name for name, of in roles.items() if of == set(ROLES)} == {
        "host", "port", "log_level", "max_sessions_per_subject",
            "metrics_address",
    }  # fmt: skip
    assert roles["secret"] == {"signaling", "media"}
    assert roles["model"] == {"serve", "media"}
    assert roles["token"] == roles["allow_origin"] == {"serve", "signaling"}
    assert (roles["workers"], roles["nodes"], roles["node_address"]) == ({"serve"}, {"signaling"}, {"media"})


def test_serve_leaves_calls_less_time_to_move_because_there_is_nowhere_to_move_to() -> None:
    assert given(ServeSettings).drain.drain_timeout_s == 5.0
    assert given(MediaSettings).drain.drain_timeout_s == 30.0
    assert read(ServeSettings, {}, {"VOXGENDER_DRAIN_TIMEOUT_S": "7"}).drain.drain_timeout_s == 7.0


def test_variables_of_other_roles_and_programs_are_left_alone() -> None:
    environ = {"HOST": "x", "MODEL": "x", "VOXGENDERPORT": "1", "VOXGENDER_WORKERS": "many"}
    assert read(SignalingSettings, {}, environ) == SignalingSettings()


def test_platforms_say_the_port_as_port() -> None:
    assert read(HttpOptions, {}, {"PORT": "7000"}).port == 7000
    assert read(HttpOptions, {}, {"PORT": "7000", "VOXGENDER_PORT": "9000"}).port == 9000
    assert read(HttpOptions, {"port": 9001}, {"PORT": "7000"}).port == 9001


def test_the_address_of_a_service_of_this_name_is_no_port_to_listen_on() -> None:
    """Kubernetes sets ``VOXGENDER_PORT`` in each pod beside a service called ``voxgender``: none of them started."""
    told = {"VOXGENDER_PORT": "tcp://10.3.240.5:8080"}
    assert read(HttpOptions, {}, told).port == 8080
    assert read(HttpOptions, {}, told | {"PORT": "7000"}).port == 7000
    assert read(HttpOptions, {}, {"VOXGENDER_PORT": "tcp://[2001:db8::5]:8080"}).port == 8080
    with pytest.raises(SettingsError, match="VOXGENDER_PORT takes a whole number"):
        read(HttpOptions, {}, {"VOXGENDER_PORT": "tcp://10.3.240.5"})


@pytest.mark.parametrize("value", ["yes", "", "2", "tru"])
def test_a_switch_in_the_environment_says_what_it_takes(value: str) -> None:
    """It said that it took text in UTF-8."""
    assert read(MediaOptions, {}, {"VOXGENDER_NO_UDP": "True"}).no_udp
    assert not read(MediaOptions, {}, {"VOXGENDER_NO_UDP": "0"}).no_udp
    with pytest.raises(SettingsError, match=r"^VOXGENDER_NO_UDP takes true or false$"):
        read(MediaOptions, {}, {"VOXGENDER_NO_UDP": value})


@pytest.mark.parametrize("token", ["abc\n", " abc", "a\tb", " ", "a\x00b"])
@pytest.mark.parametrize("kind", [AuthOptions, TokenOptions])
def test_a_token_that_nobody_can_send_is_refused(kind: type, token: str) -> None:
    """A secret that a file with a line's end was made into let the server start, and then nobody in."""
    with pytest.raises(SettingsError, match=r"^--token \(VOXGENDER_TOKEN\)") as refused:
        kind(token=token)
    assert "abc" not in str(refused.value)


@pytest.mark.parametrize("port", ["65536", "9" * 5_000, "\u0661", ""])
def test_a_port_of_metrics_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(SettingsError, match="--metrics-address"):
        MetricsOptions(metrics_address=f"127.0.0.1:{port}")


@pytest.mark.parametrize("role", ROLES)
def test_no_repr_shows_a_secret(role: str) -> None:
    """Settings end up in tracebacks and in the logs of those who embed the server."""
    secrets = {
        "token": "hunter1",
        "jwt_secret": "hunter2",
        "turn_secret": "hunter3",
        "ice_server": ("turn:ann:hunter4@turn.example.org",),
        "secret": "hunter5",
        "registry": "redis://:hunter6@cache",
        "webhook": "https://app.example/hunter7",
        "webhook_secret": ("hunter8",),
    }
    known = {option.name for option in options_of(ROLES[role])}
    settings: object = given(ROLES[role], **{name: value for name, value in secrets.items() if name in known})
    assert "hunter" in str(values(settings))
    assert "hunter" not in repr(settings)


def test_what_a_worker_is_told_has_no_secret() -> None:
    assert not {"token", "jwt_secret", "turn_secret", "ice_server", "secret", "registry"} & set(values(NodeSettings()))


def test_a_range_of_ports_has_its_lower_end_first() -> None:
    assert MediaOptions().udp_port_range is None
    assert MediaOptions(udp_ports="40000-40000").udp_port_range == (40_000, 40_000)
    for wrong in ("2-1", "0-5", "1-65536", "40000", "a-b", "1-2-3", "1-2\n", "١-٢"):
        with pytest.raises(SettingsError, match=r"^--udp-ports .*takes LOW-HIGH"):
            given(MediaOptions, udp_ports=wrong)


@pytest.mark.parametrize("hop_ms", [63, 100, 191, 200, 2_000])
def test_a_hop_that_does_not_fit_the_tick_is_refused(hop_ms: int) -> None:
    """A hop of 200 ms used to be taken, and each result waited up to 56 ms for its tick, in silence."""
    with pytest.raises(SettingsError, match=r"^--hop-ms takes a whole number from 64 to 1984 in steps of 64$"):
        given(ModelOptions, hop_ms=hop_ms)


def test_a_hop_longer_than_the_window_is_refused() -> None:
    assert given(ModelOptions, hop_ms=960, window_ms=960).window_ms == 960
    with pytest.raises(SettingsError, match=r"^--hop-ms .* at most --window-ms"):
        given(ModelOptions, hop_ms=1_024)


@pytest.mark.parametrize("host", ["", "a..b", "x" * 64 + ".example"])
def test_a_host_that_is_no_name_is_refused(host: str) -> None:
    """An empty one meant every address of the machine."""
    with pytest.raises(SettingsError, match=r"^--host "):
        given(HttpOptions, host=host)


@pytest.mark.parametrize(
    ("inference", "pool"),
    [
        ("local", None),
        ("ray", ("127.0.0.1", 8_000)),
        ("ray://pool.example", ("pool.example", 8_000)),
        ("ray://pool.example:9000", ("pool.example", 9_000)),
        ("ray://10.0.0.7:1", ("10.0.0.7", 1)),
        ("ray://[2001:db8::7]", ("2001:db8::7", 8_000)),
        ("ray://[2001:db8::7]:9000", ("2001:db8::7", 9_000)),
    ],
)
def test_a_pool_has_a_host_and_a_port(inference: str, pool: tuple[str, int] | None) -> None:
    assert given(ModelOptions, inference=inference).pool == pool


@pytest.mark.parametrize(
    "inference",
    [
        "", "ray:", "ray://", "ray://:8000", "http://pool:8000", "pool:8000", "ray://pool:http", "ray://pool:70000",
        "ray://pool/path", "ray://user:secret@pool:8000", "ray://po ol", "ray://pool:80:80",
    ],
)  # fmt: skip
def test_an_address_that_is_no_pools_is_refused_without_being_repeated(inference: str) -> None:
    with pytest.raises(SettingsError, match="--inference") as refused:
        given(ModelOptions, inference=inference)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "owner/name"},
        {"model": "off"},
        {"model_revision": "v1"},
        {"labels": ("male=M",)},
        {"precision": "int8"},
        {"device": "cuda"},
        {"inference_threads": 2},
    ],
)
def test_a_model_of_its_own_beside_a_pool_is_refused(options: dict[str, object]) -> None:
    """Else a node would seem to run the model that it was given, while the pool's was heard."""
    with pytest.raises(SettingsError, match="the pool's model is used: leave out --model"):
        given(ModelOptions, inference="ray", **options)


@pytest.mark.parametrize(("text", "numbers"), [("3", (3, 3)), ("1-8", (1, 8)), ("2-2", (2, 2))])
def test_replicas_are_a_number_or_a_range(text: str, numbers: tuple[int, int]) -> None:
    assert given(PoolSettings, replicas=text).pool.replica_range == numbers


@pytest.mark.parametrize("text", ["", "0", "0-3", "4-2", "1-", "-3", "1-2-3", "many", "1000"])
def test_replicas_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--replicas"):
        given(PoolSettings, replicas=text)


def test_a_pool_knows_the_options_of_its_model_and_none_of_calls() -> None:
    names = {option.name for option in options_of(PoolSettings)}
    assert {"model", "labels", "device", "replicas", "host", "port"} <= names
    assert not {"inference", "hop_ms", "window_ms", "max_sessions", "secret"} & names
    assert read(PoolSettings, {}, {}).http.port == 8_000
