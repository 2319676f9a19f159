"""Texts and features, from the file to the answer of a bundle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.data.registry import load_source
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


def check_texts(cli: Any, folder: Path, checkpoint: Path, bundle: Path) -> None:
    """Answers for texts: odd ones are counted, and other words in the data leave the model's vocabulary as it is."""
    new = folder / "new.txt"
    new.write_text("\ufeffA W\u00adARM film!\n\nstale\x85jokes\nelse\n" + "warm " * 9 + "\n", encoding="utf-8")
    result = cli("run", bundle, new, "--json")
    assert [r["label"] for r in result.document["results"]][:2] == ["1", "0"]
    assert len(result.document["results"]) == 4
    assert result.stderr.splitlines() == [
        f"warning: {new}: 1 of 4 texts, the first is [2], have no word that the model knows, so that their answers say "
        "nothing",
        f"warning: {new}: 1 of 4 texts, the first is [3], have more than 6 words and are cut there",
    ]
    data = folder / "reviews.tsv"
    changed = data.read_text(encoding="utf-8").replace("a moving", "moving moving").replace("a dull", "dull dull")
    data.write_text(changed, encoding="utf-8")
    assert load_source(f"tsv:{data}").vocabulary != load(bundle).bundle.manifest.inputs[0].text.vocabulary
    for model in (checkpoint, bundle):
        tuned = cli("tune", model, "--data", f"tsv:{data}", "-o", folder / f"other{model.suffix}", "--json").document
        assert tuned["operating_points"]["full"]["expected"]["accuracy"] > 0.8
    result = cli("bench", bundle, "--data", f"tsv:{data}", "--passes", 1, "--min-seconds", 0, "--json")
    assert result.document["ways"][0]["accuracy"] > 0.8


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
        check_texts(cli, tmp_path, path, bundle)


def test_data_under_another_name_and_new_data_are_judged(cli: Any, refused: Any, tmp_path: Path) -> None:
    data, path, bundle = features(tmp_path / "vectors.npz", (5,)), tmp_path / "m.pt", tmp_path / "m.eebundle"
    assert cli("train", "mlp-8x2", "--data", data, "--exits", 1, "--epochs", 1, "-o", path).code == 0
    copy = tmp_path / "moved.npz"
    (tmp_path / "vectors.npz").rename(copy)
    assert cli("tune", path, "--data", f"npz:{copy}", "--max-accuracy-drop", 10).code == 0
    assert cli("export", path, "-o", bundle).code == 0
    judge = ("bench", bundle, "--passes", 1, "--min-seconds", 0, "--accept-unstable", "--data")
    assert cli(*judge, f"npz:{copy}", "--json").document["data"]["source"] == "npz:moved.npz"
    refused(3, "of 300 are not new", *judge, f"npz:{copy}", "--new-data")
    arrays = dict(np.load(copy))
    np.savez(tmp_path / "new.npz", features=arrays["features"] + 1, labels=arrays["labels"])
    new = f"npz:{tmp_path / 'new.npz'}"
    refused(3, "the model was trained on", *judge, new)
    shown = cli(*judge, new, "--new-data", "--json").document["data"]
    assert (shown["source"], shown["split"], shown["n"]) == ("npz:new.npz", "new", 300)
    estimated = cli("estimate", bundle, "--device", "rpi4", "--data", new, "--new-data", "--json")
    assert estimated.code == 0, estimated


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
