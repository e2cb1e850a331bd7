import pytest

from voxgender.errors import SettingsError
from voxgender.media.localaddresses import local_addresses


def test_an_address_is_itself_and_each_is_there_once() -> None:
    assert local_addresses(["127.0.0.1", "127.0.0.2", "127.0.0.1"]) == ("127.0.0.1", "127.0.0.2")


def test_nothing_asked_is_nothing_meant() -> None:
    assert local_addresses([]) == ()


def test_an_interface_is_its_addresses() -> None:
    assert "127.0.0.1" in local_addresses(["lo"])


def test_a_network_is_those_of_the_machines_addresses_that_are_in_it() -> None:
    assert local_addresses(["127.0.0.0/8"]) == ("127.0.0.1",)


@pytest.mark.parametrize(
    "unknown", ["198.51.100.1", "eth99", "198.51.100.0/24", "10.0.0.1/8", "2001:db8::1", "", "::/129"]
)
def test_what_is_nothing_of_this_machine_is_refused_with_what_there_is(unknown: str) -> None:
    """A server with a wrong address started, and every call failed after 15 s."""
    with pytest.raises(SettingsError, match=r"--ice-address .*127\.0\.0\.1 \(lo\)"):
        local_addresses([unknown])
