"""Fetch and refresh the public keys of callers' tokens: a JSON Web Key Set (RFC 7517)."""

import asyncio
import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

import aiohttp
import jwt
from yarl import URL

from voxgender import received
from voxgender.errors import NotReady, SettingsError

logger = logging.getLogger(__name__)

REFRESH_S = 600.0
"""Greatest age of the keys. A withdrawn key is accepted for so long at most, while its set can be read."""
RETRY_S = 30.0
"""Least time between two reads, even if tokens name unknown keys or reads fail."""
MAX_BYTES = 1024 * 1024
MAX_TRIED = 8
"""Keys that a token's signature is checked with, where several have its key id, or it names none."""
_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
_TOO_LARGE = "it is larger than any key set"
_MIN_RSA_BITS = 2048
"""RFC 7518 section 3.3."""


class JwkSet:
    """A JSON Web Key Set (RFC 7517). An algorithm belongs to a key, never to a token.

    A set that cannot be read leaves the keys that are known.

    Args:
        source: an ``http(s)://`` URL or a file.
        clock: returns seconds.

    Raises:
        SettingsError: the file cannot be read, or holds no usable key.
    """

    def __init__(self, source: str, *, clock: Callable[[], float] = monotonic) -> None:
        self._url = _url(source) if source.startswith(("http://", "https://")) else None
        if self._url is None and "://" in source:
            # The message leaves out the URL, which may hold a password.
            raise SettingsError("--jwt-keys (VOXGENDER_JWT_KEYS) takes an http:// or https:// URL, or a file")
        self._path = Path(source)
        self._clock = clock
        self._keys: list[tuple[str | None, jwt.PyJWK]] = []
        self._read_at = -math.inf
        self._due_at = -math.inf
        self._reading: asyncio.Task[None] | None = None
        if self._url is None:
            try:
                self._keys = parse(_read_file(self._path))
            except (OSError, ValueError) as error:
                raise SettingsError(f"--jwt-keys (VOXGENDER_JWT_KEYS): {source}: {_reason(error)}") from None
            self._read_at = clock()
            self._due_at = self._read_at + REFRESH_S

    async def find(
        self, key_id: str | None, algorithm: str, *, instead_of: Sequence[jwt.PyJWK] = ()
    ) -> list[jwt.PyJWK]:
        """Return the keys of this id for this algorithm; without an id, all for it. There are ``MAX_TRIED`` at most.

        Args:
            key_id: the key's id, if the token names one.
            algorithm: that of the token's signature.
            instead_of: keys that were found, and have not made the signature: the issuer may have others since.

        Raises:
            NotReady: the keys have not been read yet, and cannot be.
        """
        now = self._clock()
        if now >= self._due_at:
            self._read_soon()
        found = self._pick(key_id, algorithm)
        if found == list(instead_of) and (self._reading is not None or now >= self._read_at + RETRY_S):
            # Many callers may wait for one read, and any of them may be cancelled.
            await asyncio.shield(self._read_soon())
            found = self._pick(key_id, algorithm)
        if not self._keys:
            raise NotReady(
                "The keys that tokens are checked with cannot be read now.",
                code="keys_unavailable",
                retry_after_s=math.ceil(RETRY_S),
            )
        return found

    async def close(self) -> None:
        """Cancel a read in progress."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _pick(self, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
        fitting = [
            key
            for own_id, key in self._keys
            if key.algorithm_name == algorithm and (key_id is None or own_id == key_id)
        ]
        return fitting[:MAX_TRIED]

    def _read_soon(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="read-keys")
            self._reading.add_done_callback(self._read_done)
        return self._reading

    def _read_done(self, _: asyncio.Task[None]) -> None:
        self._reading = None

    async def _read(self) -> None:
        self._read_at = self._clock()
        self._due_at = self._read_at + RETRY_S
        try:
            # In a thread, because to load some thousand keys takes a second.
            self._keys = await asyncio.to_thread(parse, await self._fetch())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # Only the host of a URL: the rest may hold a secret.
            where = self._path if self._url is None else self._url.origin()
            stay = "those known stay in use" if self._keys else "tokens that need them cannot be checked"
            logger.warning("the keys of %s could not be read (%s); %s", where, _reason(error), stay)
        else:
            self._due_at = self._read_at + REFRESH_S

    async def _fetch(self) -> bytes:
        if self._url is None:
            return await asyncio.to_thread(_read_file, self._path)
        # A redirect would let another host, or whoever is on the way to it, decide who gets in.
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as http,
            http.get(self._url, allow_redirects=False) as response,
        ):
            response.raise_for_status()
            if response.status != 200:
                raise ValueError(f"it answers {response.status}: name the address that it leads to")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(_TOO_LARGE)
            return bytes(body)


def _read_file(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        # To open a named pipe waits for its other end, for ever, and no signal would stop that.
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(_TOO_LARGE)
    return text


def parse(text: bytes) -> list[tuple[str | None, jwt.PyJWK]]:
    """Parse a key set: return each usable key with its id. Keys of other kinds and for other uses are skipped.

    Raises:
        ValueError: it is no key set, or has no usable key.
    """
    try:
        found = json.loads(text)["keys"]
        keys = [(jwk.get("kid"), key) for jwk in found if (key := _key(jwk)) is not None]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is no JSON Web Key Set") from None
    if not keys:
        raise ValueError("it has no public key for RS256, ES256 or EdDSA signatures")
    return keys


def _url(text: str) -> URL:
    try:
        url = received.url(text)
        if url.host:
            return url
    except ValueError:
        pass
    raise SettingsError("--jwt-keys (VOXGENDER_JWT_KEYS) takes the URL of a host, as https://HOST/PATH, or a file")


def _key(jwk: dict[str, object]) -> jwt.PyJWK | None:
    # The algorithm follows from the kind of key. A shared secret ("oct") is no public key.
    algorithm = {
        ("RSA", ""): "RS256",
        ("EC", "P-256"): "ES256",
        ("OKP", "Ed25519"): "EdDSA",
    }.get((str(jwk.get("kty")), str(jwk.get("crv", ""))))
    if algorithm is None or jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig" or "d" in jwk:
        return None
    try:
        key = jwt.PyJWK(jwk, algorithm)
    except jwt.PyJWTError:
        return None
    return None if algorithm == "RS256" and key.key.key_size < _MIN_RSA_BITS else key


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientResponseError():
            return f"status {error.status}"
        case TimeoutError():
            return "no answer in time"
        case OSError(strerror=str(reason)):
            return reason
        case aiohttp.ClientError():
            return type(error).__name__
    return str(error)
