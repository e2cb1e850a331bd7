"""The receiver's URL, and signatures that it can check as the documentation says."""

import base64
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from voxgender.errors import SettingsError
from voxgender.settings import WebhookOptions
from voxgender.webhooks.signing import check, signed

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
GUIDE = (Path(__file__).parents[2] / "docs" / "following.md").read_text()


def is_genuine() -> Callable[..., bool]:
    """Return the receiver's check, as the documentation has it."""
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "def is_genuine" in block]
    names: dict[str, Any] = {}
    exec(block, names)
    found: Callable[..., bool] = names["is_genuine"]
    return found


def test_both_secrets_sign_while_one_is_replaced() -> None:
    _, keys = check(WebhookOptions(webhook="https://a.example/", webhook_secret=(SECRET, OTHER)))
    headers = signed(keys, "id", int(time.time()), b"body")
    genuine = is_genuine()
    assert genuine(headers, b"body", SECRET)
    assert genuine(headers, b"body", OTHER)
    assert not genuine(headers, b"bodY", SECRET)
    assert not genuine(headers | {"webhook-id": "other"}, b"body", SECRET)
    assert not genuine(signed(keys, "id", int(time.time()) - 3_600, b"body"), b"body", SECRET)


def test_a_message_is_signed_as_the_specification_s_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example", "a.example", "https://", "http://u:p@a.example/", "http://a.example/ x", "http://a:0/",
     "http://a:x/", "http://a.example/#f", "http://é.example/", "http://a\n.example"],
)  # fmt: skip
def test_a_url_that_cannot_be_a_receiver_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^--webhook ") as refused:
        check(WebhookOptions(webhook=url, webhook_secret=(SECRET,)))
    assert "u:p" not in str(refused.value)


@pytest.mark.parametrize(
    "secret", ["", "hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "é" * 40, "whsec_" + "A" * 200]
)
def test_a_secret_that_is_weak_or_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(SettingsError, match="webhook") as refused:
        check(WebhookOptions(webhook="https://a.example", webhook_secret=(secret,)))
    assert "hunter2" not in str(refused.value)
    with pytest.raises(SettingsError, match="signed"):
        check(WebhookOptions(webhook="https://a.example"))
