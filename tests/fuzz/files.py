"""Targets that are files: checkpoints and audio."""

import json
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.fuzz.contract import Breach, Parse, Target, check_line
from tests.support import frames, sine
from voxgender.audio.files import read_audio
from voxgender.errors import AudioError, ModelError
from voxgender.inference import loading

_LAYERS: dict[str, tuple[int, ...]] = {"classifier.weight": (2, 8), "classifier.bias": (2,), "projector.bias": (8,)}
CONFIG: dict[str, Any] = {
    "architectures": ["Wav2Vec2ForSequenceClassification"],
    "model_type": "wav2vec2",
    "id2label": {"0": "female", "1": "male"},
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8, 8],
    "conv_kernel": [400, 3],
    "conv_stride": [160, 2],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "vocab_size": 4,
}
_PREPROCESSOR = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000, "do_normalize": True}
_NAMES = ("config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json")


@cache
def _whole() -> dict[str, bytes]:
    """The files of a small checkpoint that loads."""
    from tests.inference.checkpoints import network

    with tempfile.TemporaryDirectory() as folder:
        network(num_hidden_layers=1).save_pretrained(folder)
        found = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    return found | {"preprocessor_config.json": json.dumps(_PREPROCESSOR).encode()}


@contextmanager
def _checkpoints() -> Iterator[Parse]:
    """Load a checkpoint one of whose files is the input; the first byte says which."""
    whole = _whole()
    with tempfile.TemporaryDirectory() as folder:

        def parse(data: bytes) -> None:
            which, body = (data[0] % 4, data[1:]) if data else (0, b"")
            directory = Path(folder)
            for path in directory.iterdir():
                path.unlink()
            for name in _NAMES[:3]:
                if which != 3 or name != "model.safetensors":
                    (directory / name).write_bytes(whole[name])
            if which == 3:
                (directory / "part.safetensors").write_bytes(whole["model.safetensors"])
            if which == 2:
                # Weights behind a header that is the input.
                size = int.from_bytes(whole["model.safetensors"][:8], "little")
                body = len(body).to_bytes(8, "little") + body + whole["model.safetensors"][8 + size :]
            (directory / _NAMES[which]).write_bytes(body)
            try:
                loaded = loading.load(folder)
            except ModelError as error:
                check_line(error)
                return
            heard = loaded(np.zeros((1, 16_000), np.float32))
            if heard.shape != (1, len(loaded.labels)) or not np.isfinite(heard).all():
                raise Breach(f"a model that was loaded gives {heard}")

        yield parse


def _checkpoint_seeds() -> list[bytes]:
    header = _whole()["model.safetensors"]
    size = int.from_bytes(header[:8], "little")
    index = {"weight_map": {"classifier.weight": "part.safetensors"}, "metadata": {"total_size": 1}}
    return [
        b"\0" + json.dumps(CONFIG).encode(),
        b"\0" + _whole()["config.json"],
        b"\1" + json.dumps(_PREPROCESSOR).encode(),
        b"\2" + header[8 : 8 + size],
        b"\3" + json.dumps(index).encode(),
    ]


_CONFIG_WORDS = tuple(
    word.encode()
    for word in (
        *(
            "null",
            "0",
            "-1",
            "1e999",
            "NaN",
            "[]",
            "{}",
            '""',
            "true",
            "1.5",
            "99999999999999999999",
            "[[",
            '{"a":',
            "10000000",
        ),
        *(
            '"F32"',
            '"F16"',
            '"BF16"',
            '"I64"',
            '"F8_E4M3"',
            '"shape":[',
            '"data_offsets":[',
            '"../../x"',
            '"/etc/passwd"',
        ),
        *(
            '"id2label":{"0":"male","2":"female"}',
            '"architectures":1',
            '"hidden_size":',
            '"conv_stride":[0,0]',
            "\x1b[31m",
        ),
    )
)


# Audio

_KINDS = {
    "a.wav": ("pcm_s16le", 8_000),
    "f.wav": ("pcm_f32le", 16_000),
    "a.flac": ("flac", 16_000),
    "a.ogg": ("libopus", 48_000),
    "a.mp3": ("libmp3lame", 16_000),
    "a.m4a": ("aac", 16_000),
    "a.webm": ("libopus", 48_000),
    "a.aiff": ("pcm_s16be", 8_000),
    "a.au": ("pcm_mulaw", 8_000),
    "a.mka": ("flac", 8_000),
    "a.avi": ("pcm_s16le", 8_000),
    "a.ts": ("mp2", 16_000),
    "a.caf": ("pcm_s16le", 8_000),
    "a.amr": ("libopencore_amrnb", 8_000),
}


@contextmanager
def _audio() -> Iterator[Parse]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"

        def parse(data: bytes) -> None:
            path.write_bytes(data)
            try:
                if not np.isfinite(read_audio(path, max_s=60)).all():
                    raise Breach("samples that are no numbers")
            except AudioError as error:
                check_line(error)

        yield parse


@cache
def _audio_seeds() -> Sequence[bytes]:
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (codec, rate) in _KINDS.items():
            path = Path(folder) / name
            with suppress(av.error.FFmpegError, ValueError):
                with av.open(str(path), "w") as container:
                    stream = container.add_stream(codec, rate=rate, layout="mono")
                    assert isinstance(stream, av.AudioStream)
                    for made in frames(sine(0.1, rate=rate), rate=rate):
                        container.mux(stream.encode(made))
                    container.mux(stream.encode(None))
                seeds.append(path.read_bytes())
    return seeds


_AUDIO_WORDS = (
    *(
        b"RIFF",
        b"WAVEfmt ",
        b"data",
        b"OggS",
        b"fLaC",
        b"ID3",
        b"\xff\xfb",
        b"moov",
        b"mdat",
        b"stsd",
        b"\x1a\x45\xdf\xa3",
    ),
    *(b"#EXTM3U\n", b"ffconcat version 1.0\n", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"LIST", b"FORM"),
    *(struct.pack("<I", number) for number in (1, 1_000, 768_000, 2**31 - 1)),
)

TARGETS = (
    Target(
        name="checkpoints",
        opened=_checkpoints,
        seeds=_checkpoint_seeds,
        words=_CONFIG_WORDS,
        cases=60,
        share=1,
        limit_s=3.0,
    ),
    Target(
        name="audio",
        opened=_audio,
        seeds=_audio_seeds,
        words=_AUDIO_WORDS,
        cases=400,
        share=3,
        largest=20_000,
        limit_s=2.0,
    ),
)
