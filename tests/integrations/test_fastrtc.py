"""``voxgender.integrations.fastrtc`` in a stream of FastRTC itself, called over WebRTC."""

from tests.integrations.calls import outcome_of


def test_a_caller_is_labelled() -> None:
    outcome = outcome_of("fastrtc_call")
    assert outcome["first"] == "hello"
    assert outcome["segments"] == ["female"]
    assert {"hello", "result", "change", "segment"} <= set(outcome["called"])
