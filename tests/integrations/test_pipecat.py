"""``voxgender.integrations.pipecat`` in a pipeline of Pipecat itself."""

from tests.integrations.calls import outcome_of


def test_users_are_labelled_apart_and_all_frames_are_passed_on() -> None:
    outcome = outcome_of("pipecat_call")
    assert outcome["segments"] == [["ana", "female"], ["ben", "male"]]
    assert outcome["passed_on"] == outcome["sent"]
    assert {"hello", "result", "change", "segment", "summary"} <= set(outcome["messages"])
    # A frame whose rate is not taken is told of once, and passed on all the same.
    assert len(outcome["errors"]) == 1
    assert "4000 Hz is not taken" in outcome["errors"][0]
    assert outcome["tasks_left"] == 0
