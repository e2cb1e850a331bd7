"""Define the metrics of ``GET /metrics``, in Prometheus text. None carries a session's id or its data."""

from functools import cache
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from voxgender.protocol import LABELS, Label

Stage = Literal["receive", "reorder", "queue", "decode", "gate", "inference", "send"]
"""Stages between a packet's arrival and its result, in order."""
Fate = Literal["received", "late", "duplicate", "lost", "unread", "excess", "refused"]

WindowFate = Literal["classified", "lost"]
PoolFailure = Literal["unreachable", "late", "busy", "refused", "failed", "malformed", "closed"]

WebhookFate = Literal["delivered", "dropped", "expired", "unsent"]
WebhookFailure = Literal["unreachable", "late", "busy", "refused"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5)

SESSIONS = Gauge("voxgender_sessions", "Live sessions")
SESSIONS_STARTED = Counter("voxgender_sessions_started", "Sessions whose offer was answered")
SESSIONS_ENDED = Counter("voxgender_sessions_ended", "Sessions ended, by reason", ["reason"])
OFFERS_REJECTED = Counter("voxgender_offers_rejected", "Offers refused, by problem code", ["code"])
DTLS_FAILED = Counter("voxgender_dtls_failed", "DTLS handshakes that failed, by why", ["kind"])
STUN_IGNORED = Counter("voxgender_stun_ignored", "STUN messages ignored: malformed, or of nobody who has a call")
CHUNKS_IGNORED = Counter("voxgender_sctp_chunks_ignored", "SCTP chunks ignored: too many in a second, or malformed")
PATHS_CHANGED = Counter("voxgender_paths_changed", "Calls whose answers followed the caller to another address")
REQUESTS_BROKEN = Counter("voxgender_requests_broken", "Requests that came broken or not in time, by kind", ["kind"])
_RESULTS = Counter("voxgender_results", "Results, by label heard", ["label"])
WINDOWS_DROPPED = Counter("voxgender_windows_dropped", "Windows not classified because the model could not keep up")
_PACKETS = Counter("voxgender_rtp_packets", "RTP packets, by what became of them", ["fate"])
PACKETS: dict[Fate, Counter] = {fate: _PACKETS.labels(fate) for fate in get_args(Fate)}
BATCH_SIZE = Histogram("voxgender_batch_size", "Calls analysed together", buckets=(1, 2, 4, 8, 16, 32, 64, 128))
_STAGES = Histogram("voxgender_stage_seconds", "Time a hop spends, by stage", ["stage"], buckets=_SECONDS)
STAGE_SECONDS: dict[Stage, Histogram] = {stage: _STAGES.labels(stage) for stage in get_args(Stage)}
LATENCY_SECONDS = Histogram(
    "voxgender_latency_seconds", "From the arrival of a window's last packet to the send", buckets=_SECONDS
)
OVERLOADED = Gauge("voxgender_overloaded", "1 while calls are refused because this node does not keep up")
LOOP_LAG_SECONDS = Histogram("voxgender_loop_lag_seconds", "Lateness of the event loop's timers", buckets=_SECONDS)
BACKLOG_SECONDS = Histogram(
    "voxgender_backlog_seconds", "Time that the oldest work of the engine has waited", buckets=_SECONDS
)
POOL_UP = Gauge("voxgender_pool_up", "1 while the pool that runs the model answers")
POOL_REQUESTS = Counter("voxgender_pool_requests", "Requests to the pool")
_POOL_WINDOWS = Counter("voxgender_pool_windows", "Windows sent to the pool, by what became of them", ["fate"])
POOL_WINDOWS: dict[WindowFate, Counter] = {fate: _POOL_WINDOWS.labels(fate) for fate in get_args(WindowFate)}
_POOL_FAILURES = Counter("voxgender_pool_failures", "Requests to the pool that failed for good, by reason", ["reason"])
POOL_FAILURES: dict[PoolFailure, Counter] = {reason: _POOL_FAILURES.labels(reason) for reason in get_args(PoolFailure)}
_WEBHOOKS = Counter("voxgender_webhooks", "Webhooks, by what became of them", ["fate"])
WEBHOOKS: dict[WebhookFate, Counter] = {fate: _WEBHOOKS.labels(fate) for fate in get_args(WebhookFate)}
_WEBHOOK_FAILURES = Counter("voxgender_webhook_failures", "Attempts to send a webhook that failed", ["reason"])
WEBHOOK_FAILURES: dict[WebhookFailure, Counter] = {
    reason: _WEBHOOK_FAILURES.labels(reason) for reason in get_args(WebhookFailure)
}
WEBHOOKS_WAITING = Gauge("voxgender_webhooks_waiting", "Webhooks that wait to be sent")
WEBHOOK_SECONDS = Histogram(
    "voxgender_webhook_seconds",
    "From a message to the delivery of its webhook",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 30, 300, 3600),
)
POOL_SECONDS = Histogram("voxgender_pool_seconds", "From a request to the pool to its answer", buckets=_SECONDS)
NODES = Gauge("voxgender_nodes", "Media nodes that signaling knows")
PLACEMENTS = Counter("voxgender_placements", "Nodes asked to take a call, by outcome", ["outcome"])


@cache
def results(label: Label) -> Counter:
    """Return the counter of a label's results; the model's labels are few."""
    return _RESULTS.labels(label)


for _label in LABELS:
    results(_label)
