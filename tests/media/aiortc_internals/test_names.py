"""Tripwires: the private names of aiortc and aioice that are used, looked for in a live call.

One of these fails when an upgrade moves a name, or when the code uses one that is not listed here. That the names still
mean the same, the tests of each module show.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aioice
import aiortc
from aioice import Candidate, Connection
from aioice.ice import CandidatePair, StunProtocol
from aioice.stun import Class, Message, Method, Transaction
from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDtlsTransport,
    RTCIceTransport,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSctpTransport,
)
from aiortc.rtcdtlstransport import RtpReceiver
from aiortc.rtcsctptransport import DataChunk, InboundStream

from tests.media.aiortc_internals.pair import a_pair

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "server" / "voxgender"

PRIVATE: dict[type, set[str]] = {
    RTCPeerConnection: {"_RTCPeerConnection__certificates", "_RTCPeerConnection__connect"},
    RTCIceTransport: {"_connection", "_recv", "_send"},
    Candidate: {"_network_host"},
    Connection: {
        "_check_list", "_find_pair", "_local_username", "_nominated", "_protocols", "_query_consent_task",
        "_remote_candidates", "_valid_username",
    },
    Transaction: {"_Transaction__addr"},
    RTCCertificate: {"_create_ssl_context"},
    RTCDtlsTransport: {
        "_data_receiver", "_do_handshake", "_register_rtp_receiver", "_rx_srtp", "_set_state", "_ssl", "_state",
        "_tx_srtp", "_unregister_rtp_receiver", "_validate_peer_identity",
    },
    RTCRtpReceiver: {"_RTCRtpReceiver__rtcp_ssrc"},
    RtpReceiver: {"_handle_disconnect"},
    RTCRtpSender: {
        "_RTCRtpSender__ntp_timestamp", "_RTCRtpSender__octet_count", "_RTCRtpSender__packet_count",
        "_RTCRtpSender__rtp_exited", "_RTCRtpSender__rtp_header_extensions_map", "_RTCRtpSender__rtp_started",
        "_RTCRtpSender__rtp_timestamp", "_run_rtp", "_ssrc",
    },
    RTCSctpTransport: {
        "_advanced_peer_ack_tsn", "_advertised_rwnd", "_association_state", "_cwnd", "_data_channel_flush",
        "_data_channel_queue", "_data_channel_receive", "_data_channel_send", "_data_channels", "_fast_recovery_exit",
        "_flight_size", "_forward_tsn_chunk", "_forward_tsn_streams", "_handle_data", "_inbound_streams",
        "_last_sacked_tsn", "_local_port", "_local_tsn", "_local_verification_tag", "_loop", "_outbound_queue",
        "_outbound_stream_seq", "_reconfig_queue", "_remote_max_message_size", "_remote_port",
        "_remote_verification_tag", "_sack_misordered", "_send_chunk", "_sent_queue", "_t3_cancel", "_t3_handle",
        "_t3_restart", "_t3_start", "_transmit", "_update_rto",
    },
    RTCDataChannel: {"_addBufferedAmount"},
    DataChunk: {"_book_size", "_in_flight", "_sent_count", "_sent_time"},
}  # fmt: skip
"""Names by the class that keeps them."""

UNDOCUMENTED: dict[type, set[str]] = {
    Connection: {
        "build_request",
        "data_received",
        "get_component_candidates",
        "query_consent",
        "remote_password",
        "request_received",
    },
    StunProtocol: {"datagram_received", "local_candidate", "receiver", "send_stun", "transactions", "transport"},
    CandidatePair: {"State", "nominated", "protocol", "remote_addr", "remote_candidate", "state", "task"},
    RTCRtpReceiver: {"receive", "stop"},
    InboundStream: {"reassembly"},
}
"""Names without an underscore that no documentation promises."""

UNEXPORTED = {
    # Tried with a real TURN server in tests/doctor.
    "doctor/addresses.py": {"stun", "turn"},
    "media/aiortc_internals/bundling.py": {
        "Chunk",
        "DataChunk",
        "ForwardTsnChunk",
        "SCTP_DATA_FIRST_FRAG",
        "SCTP_DATA_LAST_FRAG",
        "SCTP_DATA_UNORDERED",
        "SackChunk",
        "State",
        "USERDATA_MAX_LENGTH",
        "WEBRTC_DCEP",
        "WEBRTC_STRING",
        "tsn_plus_one",
        "uint16_add",
    },
    "media/aiortc_internals/certificates.py": {"SRTPProtectionProfile"},
    "media/aiortc_internals/handshake.py": {"State"},
    "media/aiortc_internals/ice.py": {"candidate_foundation", "candidate_priority", "ice", "stun"},
    "media/aiortc_internals/paths.py": {"CandidatePair", "candidate_priority", "stun"},
    "media/aiortc_internals/reception.py": {"RTCRtpReceiveParameters"},
    "media/aiortc_internals/records.py": {"State"},
    # Tried with a real TURN server in tests/peer/test_relay.py.
    "peer/relay.py": {"parse_stun_turn_uri", "stun", "turn"},
    "peer/sending.py": {"RtpPacket", "State", "clock"},
}
"""Names that are imported from modules that neither library exports."""


def test_the_versions_are_those_it_was_written_against() -> None:
    advice = "look through the modules that are listed here, then name the new version"
    assert version("aiortc").startswith("1.16."), advice
    assert version("aioice").startswith("0.13."), advice


async def test_a_live_call_has_each_name_where_it_is_looked_for() -> None:
    async with a_pair() as pair:
        missing = {
            (cls.__name__, name)
            for things in (parts(pair.caller), parts(pair.callee))
            for names in (PRIVATE, UNDOCUMENTED)
            for cls in names
            for name in names[cls]
            if not hasattr(things[cls], name)
        }
    assert not missing


def parts(pc: RTCPeerConnection) -> dict[type, object]:
    """Return a connected call's parts by their class."""
    (transceiver,) = pc.getTransceivers()
    dtls = transceiver.receiver.transport
    connection = dtls.transport._connection
    pair = connection._nominated[1]
    return {
        RTCPeerConnection: pc,
        RTCIceTransport: dtls.transport,
        Candidate: pair.remote_candidate,
        Connection: connection,
        StunProtocol: connection._protocols[0],
        CandidatePair: pair,
        Transaction: Transaction(Message(Method.BINDING, Class.REQUEST), pair.remote_addr, connection._protocols[0]),
        RTCCertificate: RTCCertificate.generateCertificate(),
        RTCDtlsTransport: dtls,
        RTCRtpReceiver: transceiver.receiver,
        RtpReceiver: transceiver.receiver,
        RTCRtpSender: transceiver.sender,
        RTCSctpTransport: pc.sctp,
        RTCDataChannel: next(iter(cast("Any", pc.sctp)._data_channels.values())),
        # It gives them to a chunk that it sends.
        DataChunk: SimpleNamespace(**DataChunk.__annotations__),
        InboundStream: InboundStream(),
    }


def used(tree: ast.AST) -> Iterator[str]:
    """Yield the private names of other objects that a module uses, as attributes or as strings."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=str(name)) | ast.Constant(value=str(name)):
                if re.fullmatch(r"_[A-Za-z]\w+", name):
                    yield name


def modules() -> dict[str, ast.AST]:
    return {str(path.relative_to(SOURCES)): ast.parse(path.read_text()) for path in SOURCES.rglob("*.py")}


def exceptions() -> set[str]:
    """Return the modules that ruff lets use private names (SLF001)."""
    ruff: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    prefix = "server/voxgender/"
    return {
        path.removeprefix(prefix)
        for path, rules in ruff["per-file-ignores"].items()
        if "SLF001" in rules and path.startswith(prefix)
    }


def test_ruffs_exceptions_are_the_modules_that_use_private_names() -> None:
    listed = set().union(*PRIVATE.values())
    touching = {name for name, tree in modules().items() if not listed.isdisjoint(used(tree))}
    # The certificates override a method, and name an attribute in a string: ruff sees neither.
    assert touching == exceptions() | {"media/aiortc_internals/certificates.py"}


def test_each_private_name_that_is_used_is_listed_and_no_other() -> None:
    listed = set().union(*PRIVATE.values())
    touched = {name: set(used(tree)) for name, tree in modules().items() if name in exceptions()}
    assert {name: names - listed for name, names in touched.items() if names - listed} == {}
    text = "".join(path.read_text() for path in SOURCES.rglob("*.py"))
    assert {name for name in listed if not re.search(rf"\b{name}\b", text)} == set()


def test_what_is_imported_of_modules_that_are_not_exported_is_listed() -> None:
    exported = {*aiortc.__all__, *aioice.__all__}
    imported: dict[str, set[str]] = {}
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not [name for name in node.names if re.match(r"(aiortc|aioice)\.", name.name)], module
            elif isinstance(node, ast.ImportFrom) and re.match(r"(aiortc|aioice)\b", node.module or ""):
                names = {name.name for name in node.names} - exported
                imported[module] = imported.get(module, set()) | names
    assert {module: names for module, names in imported.items() if names} == UNEXPORTED
