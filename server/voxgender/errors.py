"""The one exception tree: what a caller may catch, each with a sentence that says what to do."""


class VoxgenderError(Exception):
    """Base of every error that voxgender raises on purpose."""


class SettingsError(VoxgenderError):
    """An option or a ``VOXGENDER_*`` variable has a value that cannot be used."""


class ModelError(VoxgenderError):
    """A checkpoint cannot be loaded, or does not tell male from female."""


class AudioError(VoxgenderError):
    """A file or a track holds no audio that can be decoded."""


class ManifestError(VoxgenderError):
    """A manifest of recordings cannot be read, or names what is not there."""


class CallError(VoxgenderError):
    """A call could not be placed, or ended before its time."""


class OfferRejected(VoxgenderError):
    """An SDP offer that cannot be answered (RFC 9725 section 4.2: 400 or 422)."""

    def __init__(self, message: str, *, malformed: bool = False) -> None:
        super().__init__(message)
        self.malformed = malformed


class FragmentRejected(VoxgenderError):
    """A trickle ICE fragment (RFC 8840) that cannot be applied."""

    def __init__(self, message: str, *, malformed: bool = False) -> None:
        super().__init__(message)
        self.malformed = malformed


class SessionNotFound(VoxgenderError):
    """No live session has that id: it ended, or never was."""


class NotReady(VoxgenderError):
    """No call can be taken now: starting, full or draining."""

    def __init__(self, message: str, *, code: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s


class TooManySessions(VoxgenderError):
    """A caller has as many sessions at once as one may have."""


class TokenRejected(VoxgenderError):
    """A bearer token that lets nobody in. The message has no word of the token's own."""
