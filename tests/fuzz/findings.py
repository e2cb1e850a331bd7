"""Inputs that broke the contract once, each with its story."""

import json
import struct
from typing import NamedTuple

from tests.fuzz.files import CONFIG


class Finding(NamedTuple):
    """An input, and what it did."""

    target: str
    data: bytes
    story: str


def _config(**changes: object) -> bytes:
    return b"\0" + json.dumps(CONFIG | changes).encode()


FINDINGS = (
    Finding(
        "sctp",
        struct.pack("!BBHHH", 4, 0, 8, 1, 0),
        "a heartbeat with a parameter of no length: aiortc read it for ever, and one packet stopped all calls",
    ),
    Finding(
        "sctp",
        struct.pack("!BBHHHLHH", 130, 0, 16, 13, 4, 0, 0, 0),
        "a reconfiguration whose second parameter has no length: the same",
    ),
    Finding(
        "sctp",
        struct.pack("!BBHLLHHLHH", 1, 0, 24, 7, 1_000, 1, 1, 7, 0x8008, 3),
        "an INIT whose parameter is shorter than its own head: the same, before any tag was checked",
    ),
    Finding(
        "messages", b'{"type":' + 2_000 * b"[", "nested deep: RecursionError in place of ValueError, in the caller"
    ),
    Finding("messages", b'{"id":' + 2_000 * b"[", "nested deep: RecursionError for a node's record, in signaling"),
    Finding("checkpoints", _config(conv_stride=[0, 0]), "a stride of nought: traceback of ZeroDivisionError"),
    Finding("checkpoints", _config(num_conv_pos_embedding_groups=0), "no groups: traceback"),
    Finding("checkpoints", _config(num_attention_heads=0), "no heads: traceback"),
    Finding("checkpoints", _config(num_attention_heads=-2), "fewer than no heads: it loaded, and every call ended"),
    Finding("checkpoints", _config(conv_stride=[10**30, 2]), "a stride of 10^30: traceback of OverflowError"),
    Finding("checkpoints", _config(num_hidden_layers=10**7), "ten million layers: made for minutes"),
    Finding("checkpoints", _config(hidden_act="\ud800"), "half of a surrogate pair: traceback of UnicodeEncodeError"),
    Finding("checkpoints", _config(architectures=7), "architectures that are no list: traceback of TypeError"),
    Finding(
        "checkpoints",
        _config(id2label={"0": "male", "1": "female", "5": "x"}),
        "more labels than outputs: the server said ready, and every call ended with analysis_failed",
    ),
    Finding("checkpoints", b"\1[]", "a preprocessor that is a list: traceback of AttributeError"),
    Finding(
        "checkpoints",
        b'\3{"weight_map": {"a": "/etc/hostname", "b": "../x.safetensors"}}',
        "an index that names files elsewhere: they were read",
    ),
    Finding(
        "gateways",
        b"\n".join(
            b'{"event":"media","media":{"track":"inbound","chunk":"2",%b"payload":"////"}}' % time
            for time in (b'"timestamp":"40",', b"")
        ),
        "a message that comes twice before its turn, once without a time: TypeError, and the stream ended with 1011",
    ),
    Finding("headers", 7_999 * b"<", "a Link header of brackets: quadratic, a third of a second for 8 kB"),
    Finding("addresses", b"http://a[]@/", "an address that yarl stumbles over: traceback of IndexError"),
    Finding(
        "listen",
        b"\x03" + 2 * (b"\0" + (1_300).to_bytes(2, "big") + b"\xfc" + bytes(1_299)),
        "two Opus frames of more than 1275 bytes: their lengths cannot be written, and the call ended as our mistake",
    ),
)
