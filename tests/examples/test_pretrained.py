"""The CIFAR-10 bundle that comes with the repository: whole, small, and right about the photographs beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eetool_runtime import load

FOLDER = Path(__file__).parents[2] / "pretrained/cifar10"
MOST_BYTES = 3_000_000


def test_pretrained_bundle_verifies_and_is_small(cli: Callable[..., Any]) -> None:
    assert cli("verify", FOLDER / "model.eebundle").code == 0
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= MOST_BYTES


def test_pretrained_classifies_photographs_with_early_exit() -> None:
    model = load(FOLDER / "model.eebundle")
    pictures = sorted((FOLDER / "images").glob("*.png"))
    assert {path.stem for path in pictures} == set(model.labels)
    answers = [model(model.preprocess(np.asarray(Image.open(path)))) for path in pictures]
    right = sum(answer.label == path.stem for answer, path in zip(answers, pictures, strict=True))
    assert right >= 8
    assert len({answer.exit for answer in answers}) > 1
