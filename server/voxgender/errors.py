"""Define all exceptions. Each message is a sentence that says what to do."""

import re
from typing import Literal


class VoxgenderError(Exception):
    """Base of every error that voxgender raises on purpose."""


class SettingsError(VoxgenderError):
    """An option or a ``VOXGENDER_*`` variable has a value that cannot be used."""


class ModelError(VoxgenderError):
    """A checkpoint cannot be loaded, or does not tell male from female."""


class AudioError(VoxgenderError):
    """A file or a track holds no audio that can be decoded."""


class ManifestError(VoxgenderError):
    """A manifest of recordings cannot be read, or names a missing file."""


class CallError(VoxgenderError):
    """A call could not be placed, or ended before its time."""


class RequestRefused(VoxgenderError):
    """A request cannot be met; :mod:`voxgender.http.problems` has the HTTP status of each code.

    Attributes:
        code: a stable identifier for programs, the extension member ``code`` of problem details (RFC 9457).
        retry_after_s: time after which the same request may succeed; None if it never will.
        message: the message, unless another one is given.
    """

    code: str = ""
    retry_after_s: int | None = None
    message: str = ""

    def __init__(self, message: str = "", *, code: str = "", retry_after_s: int | None = None) -> None:
        super().__init__(message or self.message)
        if code:
            self.code = code
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class SdpRejected(RequestRefused):
    """An SDP offer that cannot be answered, or a trickle ICE fragment (RFC 8840) that cannot be applied."""

    code = "malformed_sdp"


class StreamRejected(RequestRefused):
    """A stream of audio whose format is not taken."""

    code = "malformed_stream"


class OptionRefused(RequestRefused):
    """An option of one call that is unknown, out of bounds, or bound to another value by the caller's token."""

    code = "option_refused"


class NoUdp(RequestRefused):
    """A call by WebRTC, on a server that no UDP reaches."""

    code = "no_udp"


class SessionNotFound(RequestRefused):
    """No live session has that id."""

    code = "session_not_found"
    message = "There is no such session: it has ended, or never was."


class CallNotFound(SessionNotFound):
    """No live call has that hash."""

    message = "There is no such call: it has ended, or never was."


class TicketNotFound(SessionNotFound):
    """No ticket of that text is good."""

    code = "ticket_not_found"
    message = "There is no such ticket: it was used, has expired, or never was. Ask for another one by POST."


class OtherInstance(SessionNotFound):
    """A call, ticket or node that this instance of a server has not, and another one may have."""

    code = "other_instance"
    message = (
        "This instance of the server has no such call or node, though another one may: keep a client at one instance "
        "by session affinity, or run one instance, or a fleet."
    )


class NodeNotFound(RequestRefused):
    """No node has that id."""

    code = "node_not_found"
    message = "There is no such node: it has gone, or never was."


class NotReady(RequestRefused):
    """No call can be taken now: starting, full or draining."""

    code = "starting"
    retry_after_s = 5


class Starting(NotReady):
    """No call can be taken yet."""

    retry_after_s = 2
    message = "The server is starting: its model is being loaded."


class Draining(NotReady):
    """No call can be taken any more."""

    code = "draining"
    message = "The server is shutting down."


class TooManySessions(RequestRefused):
    """A caller has as many concurrent sessions as are allowed."""

    code = "too_many_sessions"
    retry_after_s = 10


Ending = Literal[
    "done", "draining", "unsupported", "malformed", "policy", "flood", "unread", "too_big", "fault", "restarted",
    "overloaded",
]  # fmt: skip
"""Kinds of reasons for the end of a stream; :mod:`voxgender.http.listen` has the WebSocket's close code of each."""


class StreamEnded(VoxgenderError):
    """A stream of audio is over; the message says why, and what its client can do.

    Attributes:
        ending: the kind of reason.
    """

    def __init__(self, ending: Ending, message: str) -> None:
        super().__init__(message)
        self.ending: Ending = ending


class TokenRejected(VoxgenderError):
    """A bearer token is not valid. The message quotes nothing of the token."""


def first_line(error: BaseException) -> str:
    """Return the line of a library's error that tells the most, for a sentence of our own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # The first line of a validator's error names the validator alone; types are shown as Python does.
    told = next((line for line in lines if not line.endswith(":")), lines[0])
    return re.sub(r"<class '([^']*)'>", r"\1", told).replace("NoneType", "null").rstrip(".:")
