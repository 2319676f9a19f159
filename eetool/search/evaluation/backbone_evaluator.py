"""Evaluation of exits on one trained backbone, whose features are computed once for all candidates.

Branches of a frozen backbone do not depend on each other. So a branch is trained once at a tap, whatever other exits a
candidate has, and its outputs serve all candidates that have it. Only learned confidences depend on the other exits.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch

from eetool.model.branches import LINEAR, Branch
from eetool.model.early_exit import EarlyExitNet
from eetool.model.spec import ModelSpec
from eetool.progress import SILENT, Progress
from eetool.search.evaluation.adaptive_branches import adaptive_branches
from eetool.search.evaluation.backbone_features import BackboneFeatures, TappedBackbone
from eetool.search.evaluation.branch_training import (
    BRANCH_BATCH,
    TapFeatures,
    exit_outputs,
    labelled_outputs,
    train_branches,
)
from eetool.search.evaluation.cost_estimation import CostEstimator
from eetool.search.evaluation.evaluator import BuiltCandidate, EvaluationSettings, Evaluator, seed_of
from eetool.search.evaluation.splits import SearchData, SplitPart
from eetool.search.space.backbone_space import LINEAR_ONLY
from eetool.search.space.space import CandidateNetwork, Space
from eetool.tune.cross_fitting import LabelledLogits

_TRAINING = 0  # number of the part that branches are trained on


class BackboneEvaluator(Evaluator):
    """Evaluates genomes of `eetool.search.space.backbone_space`.

    A branch by rule is that of a network with an exit at every place, so that it does not depend on the other exits.
    """

    def __init__(
        self,
        space: Space,
        backbone: TappedBackbone,
        data: SearchData,
        estimator: CostEstimator,
        settings: EvaluationSettings,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(space, data, estimator, settings)
        self.backbone, self.progress = backbone, progress
        self._places = {tap.name: i for i, tap in enumerate(backbone.taps)}
        self._features: BackboneFeatures | None = None
        self._parts: list[SplitPart] = [data.branches]
        self._logits: dict[tuple[int, str], list[torch.Tensor]] = {}

    @property
    def shares_branches(self) -> bool:
        """True unless confidences are learned, whose loss joins all exits."""
        return not self.settings.learned

    def build(self, network: CandidateNetwork) -> tuple[EarlyExitNet, ModelSpec]:
        """Return the backbone with fresh exits."""
        places = [self._places[tap] for tap in network.taps]
        layouts = tuple(self.backbone.taps[place].layout or "" for place in places)
        texts = tuple(
            self._by_rule[place] if text is None else text for place, text in zip(places, network.branches, strict=True)
        )
        learned = self.settings.learned and bool(network.taps)
        spec = replace(
            self.backbone.spec, taps=network.taps, branches=texts, layouts=layouts, learned_confidence=learned
        )
        branches = [self.backbone.branch(place, text, learned) for place, text in zip(places, texts, strict=True)]
        exits = dict(zip(network.taps, branches, strict=True))
        return EarlyExitNet(self.backbone.net.backbone, exits).eval(), spec

    @cached_property
    def _by_rule(self) -> tuple[str, ...]:
        """Branches of NACHOS' rule at all places; those of features without positions are linear."""
        taps = self.backbone.taps
        convolved = [i for i, tap in enumerate(taps) if tap.layout not in LINEAR_ONLY]
        names = tuple(taps[i].name for i in convolved)
        layouts = tuple(taps[i].layout or "" for i in convolved)
        found = adaptive_branches(self.backbone.net.backbone, self.data.inputs, names, layouts, len(self.data.classes))
        rest = iter(found)
        return tuple(next(rest) if i in convolved else LINEAR for i in range(len(taps)))

    def inherit(self, net: EarlyExitNet, key: str) -> None:
        """Leave the backbone as it is: candidates share its modules."""

    def trained_outputs(self, built: BuiltCandidate, parts: Sequence[SplitPart]) -> list[LabelledLogits]:
        """Return the outputs of all exits; branches that no candidate had before are trained."""
        features = self._open(parts)
        numbers = [self._number(part) for part in parts]
        built.timer.lap("features")
        spec = built.spec
        if self.settings.learned and spec.taps:
            return self._jointly_trained(features, built, numbers)
        places = [self._places[tap] for tap in spec.taps]
        exits = [self._exit_logits(features, place, text) for place, text in zip(places, spec.branches, strict=True)]
        built.timer.lap("branches")
        return [self._labelled(features, [logits[part] for logits in exits], part) for part in numbers]

    def _open(self, parts: Sequence[SplitPart]) -> BackboneFeatures:
        """Return the features of all parts, computed where one of `parts` was not asked for before."""
        known = len(self._parts)
        for part in parts:
            if not any(part is one for one in self._parts):
                self._parts.append(part)
        if self._features is None or len(self._parts) > known:
            self._logits.clear()
            self._features = BackboneFeatures(self.backbone, [p.examples for p in self._parts], self.progress)
        return self._features

    def _number(self, part: SplitPart) -> int:
        return next(i for i, one in enumerate(self._parts) if one is part)

    def _exit_logits(self, features: BackboneFeatures, place: int, text: str) -> list[torch.Tensor]:
        """Return the logits of a branch on every part; those of the part of the training are empty."""
        if (place, text) not in self._logits:
            seed = seed_of(hashlib.sha256(f"{place} {text}".encode()).hexdigest(), self.settings.seed)
            torch.manual_seed(seed)
            branch = self.backbone.branch(place, text, canonical=True)
            x, labels = features.of(_TRAINING, place), features.labels[_TRAINING]
            training = TapFeatures((x,), torch.zeros(len(labels), len(self.data.classes)), labels)
            train_branches([branch], training, self.settings.epochs, BRANCH_BATCH, seed)
            held_out = range(1, len(self._parts))
            logits = [_logits(branch, features.of(part, place)) for part in held_out]
            self._logits[place, text] = [torch.empty(0), *logits]
        return self._logits[place, text]

    def _labelled(self, features: BackboneFeatures, exits: Sequence[torch.Tensor], part: int) -> LabelledLogits:
        logits = torch.stack([*exits, features.final(part)])
        return LabelledLogits(logits.numpy(), features.labels[part].numpy())

    def _jointly_trained(
        self, features: BackboneFeatures, built: BuiltCandidate, numbers: Sequence[int]
    ) -> list[LabelledLogits]:
        """Return outputs of exits with learned confidences, which are trained together."""
        seed = seed_of(built.key, self.settings.seed)
        torch.manual_seed(seed)
        places = [self._places[tap] for tap in built.spec.taps]
        both = zip(places, built.spec.branches, strict=True)
        branches = [self.backbone.branch(place, text, learned=True, canonical=True) for place, text in both]

        def of(part: int) -> TapFeatures:
            taps = tuple(features.of(part, place) for place in places)
            return TapFeatures(taps, features.final(part), features.labels[part])

        train_branches(branches, of(_TRAINING), self.settings.epochs, BRANCH_BATCH, seed, self.cost_goal(built.costs))
        return [labelled_outputs(branches, of(part)) for part in numbers]


def _logits(branch: Branch, features: torch.Tensor) -> torch.Tensor:
    """Return the logits (n, classes) of a branch."""
    nothing = torch.zeros(len(features), branch.classifier.out_features)
    return exit_outputs([branch], TapFeatures((features,), nothing, torch.empty(0)))[0][0]
