"""Features of a trained backbone at all of its taps, on every part of the data: computed once, kept in the cache."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eetool.model.branches import LINEAR, Branch, BranchSpec
from eetool.model.early_exit import EarlyExitNet
from eetool.model.layouts import TOKENS, VECTORS, to_canonical
from eetool.model.spec import ModelSpec
from eetool.model.taps import TapCost
from eetool.progress import SILENT, Progress
from eetool.train.feature_files import FeatureRows
from eetool.train.stored_training import ExamplesView, examples_digest
from eetool.train.tap_features import TapPart, backbone_digest, tap_features
from eetool.train.training_examples import TrainingExamples

_WHOLE = "conv1-1"  # a branch that begins with weights reads all of the features
_ROWS = 1024  # that are read at once
_LARGEST_HALF = 6e4


@dataclass(frozen=True)
class TappedBackbone:
    """A trained network without exits, and the places of exits.

    Attributes:
        spec, net: the network, in evaluation mode.
        taps: places, from shallow to deep.
    """

    spec: ModelSpec
    net: EarlyExitNet
    taps: tuple[TapCost, ...]

    def branch(self, tap: int, text: str, learned: bool = False, canonical: bool = False) -> Branch:
        """Return a fresh branch at a tap, which with `canonical` reads what `BackboneFeatures` gives."""
        at = self.taps[tap]
        shape, layout = _canonical(at) if canonical else (at.shape, at.layout)
        return Branch(BranchSpec.parse(text), shape, len(self.spec.labels), learned, layout=layout)


class BackboneFeatures:
    """Features at all taps on several parts of the data.

    Args:
        backbone: the network and its taps.
        parts: examples of every part.
        progress: shows the steps.

    Raises:
        ArtefactError: features are not finite.
        OutputError: the cache cannot be written.
    """

    def __init__(
        self, backbone: TappedBackbone, parts: Sequence[TrainingExamples], progress: Progress = SILENT
    ) -> None:
        self.backbone, self.labels = backbone, [part.labels for part in parts]
        wanted = [TapPart(tap.name, _whole(backbone, i)) for i, tap in enumerate(backbone.taps)]
        views = [ExamplesView(part, examples_digest(part), None) for part in parts]
        weights = backbone_digest(backbone.net)
        self._rows: list[list[FeatureRows]] = [
            tap_features(backbone.net, [*wanted, TapPart("", None)], view, weights, progress, kept=views)
            for view in views
        ]

    def of(self, part: int, tap: int) -> Tensor:
        """Return the features (n, C, …) of a tap, of tokens (n, T, D); in float16 where all of them fit into it."""
        rows = self._rows[part][tap]
        shape = _canonical(self.backbone.taps[tap])[0][1:]
        found = np.empty((len(rows), int(np.prod(shape))), np.float16)
        for start in range(0, len(rows), _ROWS):
            chosen = np.arange(start, min(start + _ROWS, len(rows)))
            block = rows[chosen]
            if np.abs(block).max(initial=0) > _LARGEST_HALF:
                found = found.astype(np.float32)
            found[chosen] = block
        return torch.from_numpy(found).reshape(-1, *shape)

    def final(self, part: int) -> Tensor:
        """Return the logits (n, classes) of the network."""
        rows = self._rows[part][-1]
        return torch.from_numpy(rows[np.arange(len(rows))])


def bytes_per_example(taps: Sequence[TapCost]) -> int:
    """Return the size of the features of one example at all taps, in float16."""
    return sum(2 * int(np.prod(tap.shape[1:])) for tap in taps)


def _whole(backbone: TappedBackbone, tap: int) -> Branch:
    """Return a branch whose part is all of the features."""
    layout = backbone.taps[tap].layout
    return backbone.branch(tap, LINEAR if layout in (*TOKENS, VECTORS) else _WHOLE)


def _canonical(tap: TapCost) -> tuple[tuple[int, ...], str]:
    """Return shape and layout of features in the order in which branches read them."""
    assert tap.layout is not None  # taps of exits have one
    order = to_canonical(tap.layout)
    return tuple(tap.shape[axis] for axis in order), "".join(tap.layout[axis] for axis in order)
