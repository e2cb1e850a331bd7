"""Callers' own tokens: whom they let in, and how they are refused."""

import hashlib
import hmac
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.http.signing import SECRET, Signer, by_hand, by_secret, claims, key_set
from voxgender.errors import SettingsError, TokenRejected
from voxgender.http.keys import RETRY_S, JwkSet
from voxgender.http.tokens import LEEWAY_S, JwtVerifier


@pytest.fixture(scope="module")
def signers() -> dict[str, Signer]:
    return {name: Signer(name, f"key-{name}") for name in ("RS256", "ES256", "EdDSA")}


@pytest.fixture
def tokens(signers: dict[str, Signer], tmp_path: Path) -> JwtVerifier:
    """Return verifiers by secret and by public keys of every kind."""
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(list(signers.values())))
    return JwtVerifier(SECRET, JwkSet(str(path)), audience="voxgender", issuer="")


@pytest.fixture
def by_secret_alone() -> JwtVerifier:
    return JwtVerifier(SECRET, None, audience="voxgender", issuer="")


async def refusal(tokens: JwtVerifier, token: str) -> str:
    with pytest.raises(TokenRejected) as caught:
        await tokens.check(token)
    said = str(caught.value)
    # It goes into a quoted string of a header (RFC 6750 section 3).
    assert said.isascii()
    assert '"' not in said
    assert "\\" not in said
    return said


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_public_key_of_each_kind_lets_its_signer_s_callers_in(
    tokens: JwtVerifier, signers: dict[str, Signer], algorithm: str
) -> None:
    assert (await tokens.check(signers[algorithm].token())).subject == "ann"


async def test_the_shared_secret_lets_in(by_secret_alone: JwtVerifier) -> None:
    identity = await by_secret_alone.check(by_secret(sub="bob@example.org"))
    assert (identity.subject, identity.is_operator) == ("bob@example.org", False)


@pytest.mark.parametrize(
    ("scope", "is_operator"),
    [("operator", True), ("call operator", True), ("operators", False), ("", False), (["operator"], False)],
)
async def test_an_operator_is_told_by_the_scope(by_secret_alone: JwtVerifier, scope: object, is_operator: bool) -> None:
    assert (await by_secret_alone.check(by_secret(scope=scope))).is_operator is is_operator


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"exp": -LEEWAY_S - 5}, "expired"),
        ({"exp": None}, "no 'exp'"),
        ({"nbf": LEEWAY_S + 300}, "not valid yet"),
        ({"iat": LEEWAY_S + 300}, "not valid yet"),
        ({"aud": "billing"}, "another audience"),
        ({"aud": None}, "no 'aud'"),
        ({"sub": None}, "no 'sub'"),
        ({"sub": ""}, "subject"),
        ({"sub": "x" * 256}, "subject"),
        ({"sub": "tab\tin it"}, "subject"),
        ({"sub": "bärbel"}, "subject"),
    ],
)
async def test_a_claim_that_does_not_hold_is_named(
    by_secret_alone: JwtVerifier, changed: dict[str, int | str | None], why: str
) -> None:
    """Times are from now: those that were reckoned when the tests were collected were past when their turn came."""
    now = int(time.time())
    claims: dict[str, Any] = {name: now + it if isinstance(it, int) else it for name, it in changed.items()}
    assert why in await refusal(by_secret_alone, by_secret(**claims))


async def test_clocks_may_differ_a_little(by_secret_alone: JwtVerifier) -> None:
    now = int(time.time())
    await by_secret_alone.check(by_secret(exp=now - LEEWAY_S + 5, nbf=now + LEEWAY_S - 5))


async def test_one_audience_of_several_is_enough(by_secret_alone: JwtVerifier) -> None:
    await by_secret_alone.check(by_secret(aud=["billing", "voxgender"]))


async def test_an_issuer_that_is_wanted_is_looked_at() -> None:
    tokens = JwtVerifier(SECRET, None, audience="voxgender", issuer="https://id.example.org")
    await tokens.check(by_secret(iss="https://id.example.org"))
    assert "another issuer" in await refusal(tokens, by_secret(iss="https://evil.example.org"))
    assert "'iss'" in await refusal(tokens, by_secret())


async def test_another_secret_or_key_is_no_key(tokens: JwtVerifier, signers: dict[str, Signer]) -> None:
    assert "signature is wrong" in await refusal(tokens, by_secret("another secret of 32 bytes or more"))
    stranger = Signer("ES256", "key-ES256")
    assert "signature is wrong" in await refusal(tokens, stranger.token())
    assert "not known" in await refusal(tokens, Signer("ES256", "unknown").token())


async def test_a_public_key_is_never_taken_for_a_secret(tokens: JwtVerifier, signers: dict[str, Signer]) -> None:
    """The classic confusion: an HS256 signature, made with what everybody can read."""
    signer = signers["RS256"]
    public = signer.key.public_key()
    for known in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ):
        header = {"alg": "HS256", "typ": "JWT", "kid": signer.key_id}
        unsigned = by_hand(header, claims()).rpartition(".")[0]
        signature = hmac.digest(known, unsigned.encode(), hashlib.sha256)
        assert "signature is wrong" in await refusal(tokens, by_hand(header, claims(), signature))


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "", "HS384", "HS512", "RS512", "PS256", "ES256K", None, ["HS256"]]
)
async def test_other_algorithms_are_not_taken(tokens: JwtVerifier, algorithm: object) -> None:
    await refusal(tokens, by_hand({"alg": algorithm, "kid": "key-RS256"}, claims()))


async def test_a_key_of_one_kind_does_not_check_signatures_of_another(
    tokens: JwtVerifier, signers: dict[str, Signer]
) -> None:
    swapped = signers["ES256"].token(header={"kid": "key-RS256"})
    assert "not known" in await refusal(tokens, swapped)


async def test_without_keys_no_key_signs(by_secret_alone: JwtVerifier, signers: dict[str, Signer]) -> None:
    assert "not taken" in await refusal(by_secret_alone, signers["RS256"].token())


async def test_without_a_secret_none_is_taken(signers: dict[str, Signer], tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set([signers["ES256"]]))
    tokens = JwtVerifier("", JwkSet(str(path)), audience="voxgender", issuer="")
    await refusal(tokens, by_secret())
    await refusal(tokens, by_hand({"alg": "HS256"}, claims(), hmac.digest(b"", b"", hashlib.sha256)))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "open sesame",
        "a.b.c",
        "....",
        by_hand(b"{" + b'"a":[' * 900, {}),
        by_hand(b"[" * 4000, {}),
        by_hand(b"[]", {}),
        by_hand(b"\xff", {}),
        by_hand({"alg": "RS256", "kid": 7}, {}),
        by_hand({"alg": "RS256", "kid": ["x"]}, {}),
        by_hand({"alg": "HS256", "crit": ["exp"]}, {}),
        "öpen",
        "\udcff",
    ],
)
async def test_what_is_no_token_is_refused_and_not_repeated(tokens: JwtVerifier, token: str) -> None:
    said = await refusal(tokens, token)
    assert len(token) < 3 or token not in said


@pytest.mark.parametrize("exp", ["soon", "NaN", 1e400, [], True, {}, "9999999999", "９９９９９９９９９９"])
async def test_an_expiry_that_is_no_time_is_refused(by_secret_alone: JwtVerifier, exp: object) -> None:
    await refusal(by_secret_alone, by_secret(exp=exp))


@pytest.mark.parametrize("name", ["nbf", "iat"])
@pytest.mark.parametrize("time", [True, "0"])
async def test_other_times_have_to_be_numbers_too(by_secret_alone: JwtVerifier, name: str, time: Any) -> None:
    await refusal(by_secret_alone, by_secret(**{name: time}))


@pytest.mark.parametrize(
    "secret", ["short", "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0\n-----END PUBLIC KEY-----"]
)
def test_a_secret_that_is_none_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(SettingsError, match="--jwt-secret") as caught:
        JwtVerifier(secret, None, audience="voxgender", issuer="")
    assert secret not in str(caught.value)


@pytest.mark.parametrize("header", [{"kid": "the one"}, {}], ids=["the same id", "no id"])
async def test_a_key_that_is_replaced_under_its_id_lets_callers_in(tmp_path: Path, header: dict[str, str]) -> None:
    """Read the key set again for a token that the known key has not signed.

    An issuer replaced its key and kept the id, or signs without one. All its callers got 401 for up to ten minutes,
    until the set was read again by itself.
    """
    path, now = tmp_path / "keys.json", [0.0]
    before, after, stranger = (Signer("ES256", "the one") for _ in range(3))
    path.write_bytes(key_set([before]))
    tokens = JwtVerifier("", JwkSet(str(path), clock=lambda: now[0]), audience="voxgender", issuer="")
    assert (await tokens.check(before.token(header=header))).subject == "ann"
    path.write_bytes(key_set([after]))
    now[0] += RETRY_S
    assert "signature" in await refusal(tokens, stranger.token(header=header))
    assert (await tokens.check(after.token(header=header))).subject == "ann"
    path.write_bytes(key_set([stranger]))
    assert "signature" in await refusal(tokens, stranger.token(header=header)), "it was read a moment ago"
    await tokens.close()


@pytest.mark.parametrize(
    ("ids", "header"),
    [(("one", "other"), {}), (("same", "same"), {"kid": "same"})],
    ids=["no id", "the same id"],
)
async def test_callers_are_let_in_while_one_key_follows_another(
    tmp_path: Path, ids: tuple[str, str], header: dict[str, str]
) -> None:
    """An issuer that names no key, or both by one id, published its next key beside the present one: all got 401."""
    before, after, stranger = (Signer("ES256", key_id) for key_id in (*ids, "same"))
    path = tmp_path / "keys.json"
    path.write_bytes(key_set([before, after]))
    tokens = JwtVerifier("", JwkSet(str(path)), audience="voxgender", issuer="")
    for signer in (before, after):
        assert (await tokens.check(signer.token(header=header))).subject == "ann"
        assert "expired" in await refusal(tokens, signer.token(header=header, exp=1))
    assert "signature" in await refusal(tokens, stranger.token(header=header))
