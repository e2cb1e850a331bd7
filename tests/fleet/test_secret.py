"""Signatures and session ids that only holders of the shared secret can make."""

import pytest

from voxgender.errors import SettingsError
from voxgender.fleet.secret import TOLERANCE_S, Secret

SECRET, OTHER = Secret("one"), Secret("two")


def test_without_a_secret_nothing_starts() -> None:
    with pytest.raises(SettingsError, match="VOXGENDER_SECRET"):
        Secret("")


def test_a_session_id_names_its_node_to_those_who_have_the_secret() -> None:
    session = SECRET.new_session_id("00aa11bb22cc")
    assert SECRET.node_of(session) == "00aa11bb22cc"
    assert OTHER.node_of(session) is None
    assert session != SECRET.new_session_id("00aa11bb22cc")


def test_a_session_id_that_was_changed_anywhere_names_nobody() -> None:
    session = SECRET.new_session_id("00aa11bb22cc")
    for index, letter in enumerate(session):
        tampered = session[:index] + ("B" if letter == "A" else "A") + session[index + 1 :]
        # The last of 22 characters has bits that say nothing; a text that is not ours is refused all the same.
        assert SECRET.node_of(tampered) is None
    for cut in ("", ".", session[:-1], session + "A", session.rpartition(".")[0], "é.ü.ß", "\udcff"):
        assert SECRET.node_of(cut) is None


def test_a_signature_is_for_one_purpose() -> None:
    signature = SECRET.sign("record", b"text")
    assert SECRET.is_signature(signature, "record", b"text")
    assert not SECRET.is_signature(signature, "session", b"text")
    assert not SECRET.is_signature(signature, "record", b"another")


def test_a_request_is_let_in_as_it_was_signed_and_not_otherwise() -> None:
    header = SECRET.authorization("PUT", "/offers/a", b"body")
    assert SECRET.refusal(header, "PUT", "/offers/a", b"body") is None
    for method, path, body in (
        ("DELETE", "/offers/a", b"body"),
        ("PUT", "/offers/b", b"body"),
        ("PUT", "/offers/a", b""),
    ):
        assert "another secret" in (SECRET.refusal(header, method, path, body) or "")
    assert "another secret" in (OTHER.refusal(header, "PUT", "/offers/a", b"body") or "")
    for nothing in ("", "Bearer x", "Voxgender", "Voxgender x y", "Voxgender 99999999999999 y", "Voxgender ² y"):
        assert SECRET.refusal(nothing, "PUT", "/offers/a", b"body")


@pytest.mark.parametrize("apart_s", [-TOLERANCE_S - 2, TOLERANCE_S + 2])
def test_a_request_of_another_time_is_refused_and_says_that_clocks_differ(
    apart_s: float,
) -> None:
    now = 1_000_000.0
    header = Secret("shared", clock=lambda: now).authorization("GET", "/node")
    receiver = Secret("shared", clock=lambda: now + apart_s)
    assert "clocks" in (receiver.refusal(header, "GET", "/node") or "")
