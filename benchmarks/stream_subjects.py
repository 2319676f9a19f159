"""Sensor streams of `benchmarks/streams.py`: subjects left out, a recipe for each fold, and networks that are reported.

For every two folds a network is trained without both, by each recipe. What they answer for one of the two folds serves
the choices for the other one: its recipe, its temperatures and its policies come from the six subjects besides it, each
answered by a network that saw neither of the two folds. The network that a fold is reported on then learns from all six
subjects, by the recipe that was chosen.
"""

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stream_cases import Case, joined, predict, source_frames, train_once
from stream_data import save, save_final_recordings, save_recordings, subject_folds

import eetool
from eetool.data.registry import load_source
from eetool.data.source import Source
from eetool.data.splits import TRAIN, split_source
from eetool.model.checkpoint import Checkpoint
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.model.spec import Policy
from eetool.train.exit_answers import NetworkAnswers
from eetool.tune.calibration import fit_temperature
from eetool.tune.stream_figures import Frames
from eetool_runtime.manifest import OperatingPoint

sys.path.append(str(Path(__file__).parents[1] / "examples/smartwatch"))  # the network of RECIPES
WINDOWS, TRAINING_WINDOWS = "@2/0.5", "@2/1"  # windows that overlap by three quarters teach little more than by half
OPTIONS: dict[str, Any] = {
    "at": ("stages.0", "stages.1", "stages.2"),
    "branch": "linear",
    "augment": "strong",
    "keep": "last",
    "trial_export": (),
}
# Changes of training windows beside the mixing of pairs, as arguments of the example's network.
RECIPES = {
    "moderate": "network:make(mirror=True, turn=0.2, pace=0.2)",
    "strong": "network:make(mirror=True, turn=0.4, pace=0.3)",
}


@dataclass(frozen=True)
class LeftOut:
    """Answers for subjects that a network was trained without: logits (exits, n, K), at `indices` of a source."""

    source: Source
    indices: np.ndarray
    logits: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Classes, (n,)."""
        return self.source.labels[self.indices]

    @property
    def accuracy(self) -> float:
        """Accuracy of the final exit."""
        return float((self.logits[-1].argmax(1) == self.labels).mean())

    def frames(self, temperatures: Sequence[float]) -> Frames:
        """Return the frames."""
        return source_frames(self.source, self.indices, self.logits, temperatures)


Pairs = Mapping[tuple[int, int], LeftOut]  # (fold that choices are for, fold that is answered)


@dataclass(frozen=True)
class Subjects:
    """Recordings of subjects, and where networks for them lie.

    Attributes:
        data: the archive.
        folder: of all files that are made.
        recipes: references of the example's network by the name of the recipe.
        epochs: of every training.
        most_folds: of which the first are used.
    """

    data: Path
    folder: Path
    recipes: Mapping[str, str]
    epochs: int
    most_folds: int | None = None

    def cases(self) -> tuple[list[Case], list[dict[str, Any]]]:
        """Return one case for each fold, and which recipe it has with the accuracies that speak for it."""
        folds = subject_folds(self.data)[: self.most_folds]
        pairs = {name: self.pairs(name, folds) for name in self.recipes}
        choices = [choose_recipe(pairs, test) for test in range(len(folds))]
        cases = [self.case(folds, test, choice["recipe"], pairs) for test, choice in enumerate(choices)]
        return cases, choices

    def pairs(self, recipe: str, folds: Sequence[np.ndarray]) -> dict[tuple[int, int], LeftOut]:
        """Return the answers of the networks that two folds were left out of."""
        answers = {}
        for a, b in itertools.combinations(range(len(folds)), 2):
            stem = f"without_{a}_{b}"
            save_recordings(self.data, self.folder / f"{stem}.npz", folds[a], folds[b])
            source = load_source(f"signal:{self.folder / stem}.npz{WINDOWS}")
            kept = self.folder / f"{stem}_{recipe}_answers.npz"
            if not kept.exists():
                checkpoint = self.train(stem, recipe)
                logits, _ = NetworkAnswers(checkpoint)(source.inputs[source.training_count :])
                save(kept, {"logits": logits})
            with np.load(kept, allow_pickle=False) as archive:
                logits = archive["logits"]
            at, middle = source.training_count, source.training_count + source.official_validation
            for fold, other, rows in ((b, a, np.arange(at, middle)), (a, b, np.arange(middle, len(source.labels)))):
                answers[other, fold] = LeftOut(source, rows, logits[:, rows - at])
        return answers

    def case(self, folds: Sequence[np.ndarray], test: int, recipe: str, pairs: Mapping[str, Pairs]) -> Case:
        """Return the case of a fold: the network of all other subjects, and the frames that choices are made on."""
        fit, temperatures = choice_frames(pairs[recipe], test)
        stem = f"final_{test}"
        save_final_recordings(self.data, self.folder / f"{stem}.npz", folds[test])
        source = load_source(f"signal:{self.folder / stem}.npz{WINDOWS}")
        bundle = self.folder / f"{stem}_{recipe}.eebundle"
        if not bundle.exists():
            full = OperatingPoint((None,) * (len(temperatures) - 1))
            policy = Policy(MAX_SOFTMAX, temperatures, {"full": full}, 0.0, default="full")
            eetool.export(self.train(stem, recipe).with_policy(policy), bundle)
        rows = np.arange(source.training_count + source.official_validation, len(source.labels))
        reported = LeftOut(source, rows, predict(bundle, source.inputs[rows])).frames(temperatures)
        learned = source.labels[split_source(source)[TRAIN]]
        rates = np.bincount(learned, minlength=len(source.classes)) / len(learned)
        name = f"subjects {', '.join(map(str, folds[test]))}"
        return Case(name, bundle, fit, reported, source.inputs[rows], rates)

    def train(self, stem: str, recipe: str) -> Checkpoint:
        """Return a network that learned from the training set of a file."""
        source = load_source(f"signal:{self.folder / stem}.npz{TRAINING_WINDOWS}")
        path = self.folder / f"{stem}_{recipe}.pt"
        return train_once(path, self.recipes[recipe], source, epochs=self.epochs, **OPTIONS)


def choose_recipe(pairs: Mapping[str, Pairs], test: int) -> dict[str, Any]:
    """Return the recipe of the largest accuracy on the other folds, and the accuracies of all recipes."""
    accuracies = {name: float(np.mean([own.accuracy for own in _others(p, test)])) for name, p in pairs.items()}
    return {"recipe": max(accuracies, key=lambda name: accuracies[name]), "accuracy_of_others": accuracies}


def choice_frames(pairs: Pairs, test: int) -> tuple[Frames, tuple[float, ...]]:
    """Return the frames that policies for a fold are chosen on, and its temperatures.

    Temperatures of a part of these frames come from the other parts, as those of the fold come from all of them.
    """
    parts = _others(pairs, test)
    frames = [part.frames(_temperatures(parts[:i] + parts[i + 1 :])) for i, part in enumerate(parts)]
    return joined(frames), _temperatures(parts)


def _others(pairs: Pairs, test: int) -> list[LeftOut]:
    return [own for (fold, _), own in sorted(pairs.items()) if fold == test]


def _temperatures(parts: Sequence[LeftOut]) -> tuple[float, ...]:
    logits = np.concatenate([part.logits for part in parts], 1)
    labels = np.concatenate([part.labels for part in parts])
    return tuple(fit_temperature(own, labels) for own in logits)
