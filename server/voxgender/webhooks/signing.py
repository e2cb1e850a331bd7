"""Check the options of webhooks, and sign webhooks (Standard Webhooks 1.0)."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from voxgender.errors import SettingsError
from voxgender.settings import WebhookOptions, is_host

_MIN_KEY, _MAX_KEY = 24, 64
"""Bytes of a key."""
_PREFIX = "whsec_"


def check(options: WebhookOptions) -> tuple[str, Sequence[bytes]]:
    """Return the receiver's URL and the keys.

    Raises:
        SettingsError: they cannot be used.
    """
    if not _is_receiver(options.webhook):
        raise SettingsError(
            "--webhook (VOXGENDER_WEBHOOK) takes an http or https URL without a password, as https://app.example/voices"
        )
    keys = [_key(secret) for secret in options.webhook_secret]
    if not keys:
        raise SettingsError(
            'webhooks are signed: set VOXGENDER_WEBHOOK_SECRET, as `echo "whsec_$(openssl rand -base64 32)"` makes one'
        )
    return options.webhook, keys


def signed(keys: Sequence[bytes], id_: str, at_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a message (Standard Webhooks 1.0, "Signature scheme"), by each key.

    Args:
        id_: the message's id, the same in each attempt.
        at_s: time of this attempt, seconds since the epoch.
        body: the request's body.
    """
    text = f"{id_}.{at_s}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, text, "sha256")).decode() for key in keys)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not _MIN_KEY <= len(key) <= _MAX_KEY:
        raise SettingsError(
            "--webhook-secret (VOXGENDER_WEBHOOK_SECRET) takes whsec_ and "
            f"{_MIN_KEY} to {_MAX_KEY} bytes in base64, "
            'as `echo "whsec_$(openssl rand -base64 32)"` makes one'
        )
    return key


def _is_receiver(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and "@" not in parts.netloc
            and not parts.fragment
            and url.isascii()
            and url.isprintable()
            and " " not in url
            and is_host(parts.hostname or "")
            and parts.port != 0
        )
    except ValueError:
        return False
