from typing import Any

import pytest

from voxgender import settings
from voxgender.errors import SettingsError
from voxgender.settings import Settings


def load(flags: dict[str, Any] | None = None, **environ: str) -> Settings:
    return Settings.load(flags, environ)


def test_with_nothing_said_the_defaults_hold() -> None:
    assert load() == Settings()
    assert load({"port": None, "model": None}) == Settings()


def test_a_flag_beats_the_environment_beats_the_default() -> None:
    assert Settings().port == 8080
    assert load(VOXGENDER_PORT="9000").port == 9000
    assert load({"port": "9001"}, VOXGENDER_PORT="9000").port == 9001
    assert load({"port": None}, VOXGENDER_PORT="9000").port == 9000


def test_platforms_say_the_port_as_port() -> None:
    assert load(PORT="7000").port == 7000
    assert load(PORT="7000", VOXGENDER_PORT="9000").port == 9000
    assert load({"port": 9001}, PORT="7000").port == 9001


def test_lists_are_parted_by_commas_in_the_environment() -> None:
    assert load(VOXGENDER_ICE_ADDRESS="192.0.2.1, 2001:db8::1,").ice_address == ("192.0.2.1", "2001:db8::1")
    assert load(VOXGENDER_ICE_ADDRESS="").ice_address == ()


def test_lists_are_repeated_flags_and_replace_those_of_the_environment() -> None:
    loaded = load({"ice_server": ["stun:one", "stun:two"]}, VOXGENDER_ICE_SERVER="stun:three")
    assert loaded.ice_server == ("stun:one", "stun:two")


def test_every_option_is_read_from_the_environment() -> None:
    said = {
        "host": ("0.0.0.0", "0.0.0.0"),
        "port": ("1", 1),
        "model": ("off", "off"),
        "ice_address": ("192.0.2.1", ("192.0.2.1",)),
        "ice_server": ("stun:a,stun:b", ("stun:a", "stun:b")),
        "token": ("secret", "secret"),
        "allow_origin": ("https://a.example", ("https://a.example",)),
        "max_sessions": ("3", 3),
        "inference_threads": ("2", 2),
        "precision": ("int8", "int8"),
        "device": ("cuda", "cuda"),
        "window_ms": ("2000", 2_000),
        "hop_ms": ("320", 320),
        "connect_timeout_s": ("1.5", 1.5),
        "silence_timeout_s": ("30", 30.0),
        "log_level": ("debug", "debug"),
        "workers": ("2", 2),
        "advertise_address": ("198.51.100.7", ("198.51.100.7",)),
        "udp_ports": ("40000-40100", "40000-40100"),
        "secret": ("shared", "shared"),
        "registry": ("redis://cache:6379/0", "redis://cache:6379/0"),
        "nodes": ("http://a:1,dns:b:2", ("http://a:1", "dns:b:2")),
        "node_address": ("http://a:1", "http://a:1"),
        "region": ("eu", "eu"),
        "drain_timeout_s": ("5", 5.0),
        "turn_secret": ("x", "x"),
        "turn_ttl_s": ("600", 600),
        "jwt_secret": ("y", "y"),
        "jwt_keys": ("/keys", "/keys"),
        "jwt_audience": ("a", "a"),
        "jwt_issuer": ("i", "i"),
        "max_sessions_per_subject": ("2", 2),
    }
    assert set(said) == set(settings.fields())
    loaded = Settings.load({}, {f"VOXGENDER_{name.upper()}": text for name, (text, _) in said.items()})
    assert {name: getattr(loaded, name) for name in said} == {name: value for name, (_, value) in said.items()}


def test_a_command_may_have_a_default_of_its_own() -> None:
    assert Settings.load({}, {}, command="serve").drain_timeout_s == 5.0
    assert Settings.load({}, {}, command="media").drain_timeout_s == 30.0
    assert Settings.load({}, {"VOXGENDER_DRAIN_TIMEOUT_S": "7"}, command="serve").drain_timeout_s == 7.0


def test_what_is_not_ours_is_left_alone() -> None:
    assert load(HOST="example", MODEL="x", VOXGENDERPORT="1") == Settings()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("port", "http", "a whole number of at least 0 and of at most 65535"),
        ("port", "", "a whole number"),
        ("port", "-1", "at least 0"),
        ("port", "65536", "at most 65535"),
        ("port", "80.5", "a whole number"),
        ("max_sessions", "0", "a whole number of at least 1"),
        ("max_sessions", "many", "a whole number of at least 1"),
        ("inference_threads", "-2", "at least 0"),
        ("precision", "int4", "auto (int8 for large models), fp32 or int8"),
        ("device", "gpu", "cpu or cuda"),
        ("window_ms", "499", "at least 500 and of at most 10000"),
        ("hop_ms", "1s", "a whole number of at least 64 and of at most 2000"),
        ("hop_ms", "63", "at least 64"),
        ("connect_timeout_s", "0", "a number above 0"),
        ("connect_timeout_s", "soon", "a number above 0"),
        ("silence_timeout_s", "nan", "a number above 0"),
        ("silence_timeout_s", "-1", "a number above 0"),
        ("log_level", "loud", "debug, info, warning or error"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_sentence_that_names_the_option(name: str, value: str, wanted: str) -> None:
    variable, flag = f"VOXGENDER_{name.upper()}", f"--{name.replace('_', '-')}"
    for place, loading in ((variable, lambda: load(None, **{variable: value})), (flag, lambda: load({name: value}))):
        with pytest.raises(SettingsError) as caught:
            loading()
        message = str(caught.value)
        assert message.startswith(f"{place} takes ")
        assert wanted in message
        assert "\n" not in message
        assert "`" not in message


def test_the_port_of_the_platform_is_named_as_the_platform_names_it() -> None:
    with pytest.raises(SettingsError, match=r"^PORT takes a whole number"):
        load(PORT="x")


@pytest.mark.parametrize("name", ["token", "ice_server"])
def test_a_secret_is_not_echoed(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: {"turn:user:hunter2@example": 1}})
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).startswith(f"--{name.replace('_', '-')} takes ")
    assert caught.value.__suppress_context__


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="prot"):
        load({"prot": "80"})


def test_every_option_says_what_it_is() -> None:
    for name, meta in settings.fields().items():
        assert meta.description, name
        assert not meta.description.endswith("."), name


def test_a_range_of_ports_has_its_lower_end_first() -> None:
    assert Settings().udp_port_range is None
    assert load({"udp_ports": "40000-40000"}).udp_port_range == (40_000, 40_000)
    for wrong in ("2-1", "0-5", "1-65536"):
        with pytest.raises(SettingsError, match=r"^--udp-ports"):
            load({"udp_ports": wrong}).udp_port_range  # noqa: B018
    for no_range in ("40000", "a-b", "1-2-3"):
        with pytest.raises(SettingsError, match="LOW-HIGH"):
            load({"udp_ports": no_range})


def test_every_command_knows_its_own_options_and_those_of_all() -> None:
    for name in ("host", "port", "log_level"):
        assert settings.commands(name) is None
    assert settings.commands("secret") == ("signaling", "media")
    assert settings.commands("model") == ("serve", "media")
    assert settings.commands("token") == ("serve", "signaling")
