import subprocess
import sys
from importlib.metadata import distribution

import numpy as np
import onnxruntime
import pytest

from tests.support import Samples, noise, silence
from voxgender.audio.activity import CONTEXT, FRAME, NETWORK, State, VoiceActivity
from voxgender.graphs import silero
from voxgender.peer.voices import MAN, WOMAN, speak


def framed(audio: Samples) -> Samples:
    padded = np.concatenate([np.zeros(CONTEXT, dtype=np.float32), audio])
    frames = [padded[start : start + CONTEXT + FRAME] for start in range(0, audio.size - FRAME + 1, FRAME)]
    return np.stack(frames)


def by_silero(frames: Samples) -> Samples:
    """Probabilities by the package's own file for one frame of one call after the other."""
    path = distribution("silero-vad").locate_file("silero_vad/data/silero_vad_16k_op15.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options)
    state, found = np.zeros((2, 1, 128), dtype=np.float32), []
    for frame in frames:
        probability, state = session.run(
            None, {"input": frame[None], "state": state, "sr": np.array(16_000, dtype=np.int64)}
        )
        found.append(probability[0, 0])
    return np.array(found, dtype=np.float32)


def test_the_file_in_the_package_is_the_one_that_is_written() -> None:
    """Run ``tools/graphs.py`` if this fails after a change of the writer or of the package ``silero-vad``."""
    assert NETWORK.read_bytes() == silero.build().SerializeToString()


def test_the_probabilities_are_those_of_the_package_for_each_of_many_calls() -> None:
    calls = [framed(audio) for audio in (speak(MAN, 2.0), speak(WOMAN, 2.0), noise(2.0), silence(2.0))]
    found = VoiceActivity()(calls, [State.initial()] * len(calls))
    assert max(found[0].probabilities) > 0.9
    for frames, judgement in zip(calls, found, strict=True):
        np.testing.assert_allclose(judgement.probabilities, by_silero(frames), atol=1e-3)


def test_its_licence_is_beside_it() -> None:
    """The MIT licence asks for its text and the copyright in every copy."""
    shipped = NETWORK.with_name("LICENSE").read_text()
    (original,) = (file for file in distribution("silero-vad").files or () if file.name == "LICENSE")
    assert shipped == original.read_text()
    assert "Silero Team" in shipped


def test_running_it_needs_neither_its_writer_nor_torch() -> None:
    program = (
        "import sys; from voxgender.audio import activity as a; a.VoiceActivity(); "
        "sys.exit(bool({'torch', 'onnx', 'voxgender.graphs'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_the_package_that_has_the_weights_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="silero_vad"):
        silero.build()


def test_a_basis_that_is_not_symmetric_is_not_folded() -> None:
    """The sums and differences that stand for a piece of sound would be of another spectrum."""
    basis = silero._weights()["stft.forward_basis_buffer"][:, 0]
    cosines, sines = silero._folded(basis)
    piece = noise(0.016)
    ahead, back = piece[1:129], piece[:127:-1]
    np.testing.assert_allclose((ahead + back) @ cosines, basis[:129] @ piece, atol=1e-5)
    np.testing.assert_allclose((ahead - back) @ sines, basis[129:] @ piece, atol=1e-5)
    for row, sample in ((3, 0), (5, 40), (200, 7)):
        other = basis.copy()
        other[row, sample] += 0.01
        with pytest.raises(ValueError, match="symmetric"):
            silero._folded(other)
