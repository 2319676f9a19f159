"""Texts and features, from the file to the answer of a bundle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.model.checkpoint import load_checkpoint
from eetool_runtime import load

FINE, DULL = ("moving", "warm", "fine", "bright"), ("dull", "flat", "stale", "cold")


def texts(path: Path) -> str:
    """Sentences whose label one word of four gives away."""
    random = np.random.default_rng(0)
    lines = ["sentence\tlabel"]
    for i in range(300):
        word = (FINE if i % 2 else DULL)[random.integers(4)]
        lines.append(f"a {word} film with {random.choice(['actors', 'songs', 'jokes'])} .\t{i % 2}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"tsv:{path}"


def features(path: Path, shape: tuple[int, ...]) -> str:
    """Noise with a little more of it where the label says."""
    random = np.random.default_rng(0)
    labels = np.arange(300) % 3
    arrays = random.normal(7, 3, (300, *shape)).astype(np.float32)
    arrays[np.arange(300), ..., labels] += 6
    np.savez(path, features=arrays, labels=labels)
    return f"npz:{path}"


KINDS = {
    "texts": ("text-tiny", ("--optimizer", "adamw", "--learning-rate", 0.003, "--epochs", 4)),
    "frames": ("tcresnet8", ("--epochs", 3)),
    "vectors": ("mlp-32x3", ("--epochs", 12)),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_features_and_texts_go_from_file_to_prediction(cli: Any, tmp_path: Path, kind: str) -> None:
    model, options = KINDS[kind]
    data = {
        "texts": lambda: texts(tmp_path / "reviews.tsv"),
        "frames": lambda: features(tmp_path / "frames.npz", (16, 5)),
        "vectors": lambda: features(tmp_path / "vectors.npz", (5,)),
    }[kind]()
    path, bundle = tmp_path / "m.pt", tmp_path / "m.eebundle"
    trained = cli("train", model, "--data", data, "--exits", 1, *options, "-o", path, "--json")
    assert trained.code == 0, trained
    assert trained.document["exits"][-1]["accuracy"] > 0.8
    steps = (
        ("tune", path, "--data", data, "--max-accuracy-drop", 10),
        ("export", path, "-o", bundle),
        ("verify", bundle),
        ("tune", bundle, "--data", data, "-o", tmp_path / "again.eebundle"),
        ("bench", bundle, "--data", data, "--passes", 1, "--min-seconds", 0),
    )
    for step in steps:
        result = cli(*step)
        assert result.code == 0, result
    spec = load_checkpoint(path).record.spec.inputs[0]
    assert load(bundle).bundle.manifest.inputs == (spec,)
    if kind == "texts":
        (tmp_path / "new.txt").write_text("A warm film!\n\nstale jokes\n")
        results = cli("run", bundle, tmp_path / "new.txt", "--json").document["results"]
        assert [r["label"] for r in results] == ["1", "0"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnet8", "resnet8 takes images"),
        ("tcresnet8", "takes sequences (frames, bands)"),
        ("text-tiny", "does not take features"),
        ("mlp-9999x2", "unknown model"),
    ],
)
def test_train_model_for_other_inputs_is_refused(refused: Any, tmp_path: Path, model: str, words: str) -> None:
    data = features(tmp_path / "vectors.npz", (5,))
    refused(2, words, "train", model, "--data", data, "-o", tmp_path / "m.pt")


def test_train_texts_need_text_model(refused: Any, tmp_path: Path) -> None:
    refused(2, "does not take texts", "train", "mlp-8x2", "--data", texts(tmp_path / "t.tsv"), "-o", tmp_path / "m.pt")
