"""ICE servers as they are given and as they are told."""

import pytest

from voxgender.errors import SettingsError
from voxgender.signaling.iceservers import links


@pytest.mark.parametrize(
    ("server", "link"),
    [
        ("stun:192.0.2.1", '<stun:192.0.2.1>; rel="ice-server"'),
        ("stun:[2001:db8::1]:3478", '<stun:[2001:db8::1]:3478>; rel="ice-server"'),
        (
            'turns:a:p"\\@turn.example.org:5349?transport=tcp',
            '<turns:turn.example.org:5349?transport=tcp>; rel="ice-server"; username="a"; credential="p\\"\\\\"; '
            'credential-type="password"',
        ),
    ],
)
def test_a_server_becomes_a_link(server: str, link: str) -> None:
    assert links([server]) == [link]


@pytest.mark.parametrize(
    "server", ["", "stun", "http://x", "turn:turn.example.org", "stun:a:b@host", "stun:a b", "turn:u:p@h>;x"]
)
def test_what_is_no_server_is_refused_by_name(server: str) -> None:
    with pytest.raises(SettingsError, match="--ice-server"):
        links([server])


@pytest.mark.parametrize("server", ["stun:ann:hunter2@host", "turn:ann:hunter2@ho st", "http://ann:hunter2@host"])
def test_a_password_is_not_repeated_in_the_error(server: str) -> None:
    with pytest.raises(SettingsError) as caught:
        links([server])
    assert "hunter2" not in str(caught.value)
