"""Hear a call as the server does: where its speech is, the windows that the model is given, the sexes that are told."""

from collections.abc import Sequence
from typing import NamedTuple

from tests.benchmarks.speakers.clustering import Told, Window
from tests.benchmarks.speakers.conversations import Conversation
from voxgender.audio.activity import FRAME_S
from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples, Wave
from voxgender.audio.gate import LEAVE_FRAMES
from voxgender.decisions import Span
from voxgender.engine import Engine
from voxgender.protocol import Change

_PAUSE_S = LEAVE_FRAMES * FRAME_S - 1e-6
_VOICES = ("male", "female")


class Heard(NamedTuple):
    """What the pipeline made of a call."""

    speech: tuple[Span, ...]
    windows: tuple[Window, ...]
    audio: tuple[Samples, ...]
    """Of each window."""
    sexes: tuple[Told, ...]
    """Changes from one sex to the other, as if each sex were one voice."""


def listen(engine: Engine, conversation: Conversation) -> Heard:
    """Analyse a call, all of its windows included."""
    state = engine.new_state()
    state.is_whole = True
    hops = [*state.place([Wave(conversation.audio)]), *state.cut(exact=True), *state.finish()]
    engine.process({state: hops})
    speech: list[Span] = []
    windows: list[Window] = []
    audio: list[Samples] = []
    sexes: list[Told] = []
    utterance, begins = 0.0, False
    for hop in hops:
        for span in hop.observation.speech:
            if not speech or span.start - speech[-1].end >= _PAUSE_S:
                utterance, begins = span.start, True
            speech.append(span)
        if hop.window is not None:
            windows.append(Window(hop.end_s - hop.window.size / SAMPLE_RATE_HZ, hop.end_s, begins, utterance))
            audio.append(hop.window)
            begins = False
        events = (*(hop.decision.events if hop.decision else ()), *hop.closing)
        sexes += [
            Told(hop.end_s, event.at, _VOICES.index(event.to))
            for event in events
            if isinstance(event, Change) and event.to in _VOICES
        ]
    return Heard(tuple(speech), tuple(windows), tuple(audio), tuple(sexes))


def of_turns(windows: Sequence[Window], conversation: Conversation) -> list[int]:
    """Return the turn that each window lies in as a whole, -1 for one that lies in none."""
    return [
        next(
            (
                index
                for index, turn in enumerate(conversation.turns)
                if turn.start <= window.start + 1e-6 and window.end <= turn.end + 1e-6
            ),
            -1,
        )
        for window in windows
    ]
