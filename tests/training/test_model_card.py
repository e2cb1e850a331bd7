import numpy as np

from tools.model_card import after_losses
from voxgender.peer.voices import MAN, speak


def test_speech_is_as_loud_behind_opus_as_before_it() -> None:
    """Once the decoder gave floats, all was silence to the tool: it divided them by 32,767, and no change was heard."""
    audio = speak(MAN, 2.0, seed=1)
    audio = audio * np.float32(0.7 / np.abs(audio).max())
    for share in (0.0, 0.05):
        heard = after_losses(audio, share, np.random.default_rng(0))
        assert heard.dtype == np.float32
        assert np.abs(heard).max() <= 1
        assert 0.5 < np.std(heard) / np.std(audio) < 1.5
