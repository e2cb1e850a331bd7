"""Write a run's best weights as a directory that transformers loads: ``voxgender export``."""

from pathlib import Path

from safetensors import SafetensorError
from transformers import Wav2Vec2ForSequenceClassification

from voxgender.errors import ModelError, first_line
from voxgender.inference.conversion import export as export_graph
from voxgender.training.network import build, feature_extractor
from voxgender.training.phase import BEST, Trained, load_weights
from voxgender.training.train import RESULT, noted_options

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: audio-classification
tags: [voice, wav2vec2]
---

# A compact wav2vec2 that tells how a voice is heard

`Wav2Vec2ForSequenceClassification`, {parameters:,} parameters, 16 kHz mono, windows of 0.5 to 2 s.
Labels: `female` and `male`, as listeners would call the voice, and `noise` where there is none.
The labels say how a voice sounds. They do not say what gender a person has.

Trained by `voxgender train` for {step} steps. On bare 1 s windows of the recordings kept for choosing:

| corpus | voice | files | files right | windows right |
|---|---|---|---|---|
{rows}
"""


def export(run: Path, out: Path) -> Trained:
    """Write ``config.json``, ``preprocessor_config.json``, ``model.safetensors``, ``voxgender.onnx`` and ``README.md``.

    Args:
        run: the ``out`` folder of a training.
        out: folder, made if it does not exist.

    Raises:
        ModelError: ``run`` holds no weights, or damaged ones; or ``out`` cannot be written.
    """
    network, best = best_network(run)
    try:
        _write(network, best, out)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{out}: cannot be written ({first_line(error)})") from None
    return best


def _write(network: Wav2Vec2ForSequenceClassification, best: Trained, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(out)
    # safetensors writes a file that only its owner may read; a server often runs as another user.
    (out / "model.safetensors").chmod((out / "config.json").stat().st_mode)
    feature_extractor().save_pretrained(out)
    export_graph(out)
    rows = "\n".join(
        f"| {s.corpus or '-'} | {s.kind} | {s.count} | {100 * s.files:.1f} % | {100 * s.windows:.1f} % |"
        for s in best.scores
        if s.window_ms == 1000
    )
    card = _CARD.format(parameters=network.num_parameters(), step=best.step, rows=rows)
    (out / "README.md").write_text(card, encoding="utf-8")


def best_network(run: Path) -> tuple[Wav2Vec2ForSequenceClassification, Trained]:
    """Return the network of a run with its result or, before it has ended, its best weights; and how good these are.

    Raises:
        ModelError: ``run`` holds no weights, or damaged ones.
    """
    file = run / RESULT if (run / RESULT).is_file() else run / BEST
    if not file.is_file():
        raise ModelError(f"{run}: no weights to export; train there first, at least to its first check")
    try:
        options = noted_options(run)
        weights, best = load_weights(file)
        network = build(hidden=int(options["hidden"]), layers=int(options["layers"]))
        network.load_state_dict(weights)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise ModelError(f"{run}: damaged weights or options ({error})") from error
    network.train(False)
    return network, best
