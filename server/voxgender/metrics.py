"""What operators watch, for ``GET /metrics`` in Prometheus text. No metric carries a session's id or its data."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5)

SESSIONS = Gauge("voxgender_sessions", "Live sessions")
SESSIONS_STARTED = Counter("voxgender_sessions_started", "Sessions whose offer was answered")
SESSIONS_ENDED = Counter("voxgender_sessions_ended", "Sessions ended, by reason", ["reason"])
OFFERS_REJECTED = Counter("voxgender_offers_rejected", "Offers refused, by problem code", ["code"])
RESULTS = Counter("voxgender_results", "Results, by label heard", ["label"])
WINDOWS_DROPPED = Counter("voxgender_windows_dropped", "Windows not judged because the model could not keep up")
PACKETS = Counter("voxgender_rtp_packets", "RTP packets, by what became of them", ["fate"])
BATCH_SIZE = Histogram("voxgender_batch_size", "Hops judged together", buckets=(1, 2, 4, 8, 16, 32, 64, 128))
STAGE_SECONDS = Histogram("voxgender_stage_seconds", "Time a hop spends, by stage", ["stage"], buckets=_SECONDS)
LATENCY_SECONDS = Histogram(
    "voxgender_latency_seconds", "From the arrival of a window's last packet to the send", buckets=_SECONDS
)
NODES = Gauge("voxgender_nodes", "Media nodes that signaling knows")
PLACEMENTS = Counter("voxgender_placements", "Nodes asked to take a call, by outcome", ["outcome"])
