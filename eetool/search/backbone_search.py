"""Search of exits on a trained network of the user: `eetool search --backbone`.

The network stays as it is, which is the case of PTEENet (arXiv 2501.02508); exits, branches and thresholds are searched
as AEBNAS does (arXiv 2512.10671). Its features are computed once, so that a candidate takes seconds.
"""

import hashlib
from dataclasses import replace

import numpy as np
import torch

from eetool.data.source import Source
from eetool.errors import UsageError
from eetool.model.early_exit import EarlyExitNet
from eetool.model.spec import ModelSpec
from eetool.model.taps import TapCost
from eetool.progress import SILENT, Progress
from eetool.search.evaluation.backbone_evaluator import BackboneEvaluator
from eetool.search.evaluation.backbone_features import TappedBackbone, bytes_per_example
from eetool.search.evaluation.splits import SearchData, backbone_search_data
from eetool.search.search import Search, SearchOptions, SearchTarget
from eetool.search.search_results import Candidate, EvaluatedCandidate, Front, cheapest_within
from eetool.search.space.backbone_space import backbone_space
from eetool.train.feature_files import limit_bytes
from eetool.train.require_trained import require_trained
from eetool.train.tap_features import backbone_digest
from eetool.train.torch_devices import CPU
from eetool.train.training_examples import TrainingExamples
from eetool.wording import counted

_SHARE = 0.9  # of the limit of the cache, for the features of one search
_FEWEST = 1024  # training examples, below which taps are left out instead
_MOST_BYTES = 1 << 30  # features of one tap in memory


class BackboneSearch(Search):
    """One search of exits on a trained network.

    Args:
        backbone: the network, and all places where exits can be.
        source: the data.
        hold_out: origin of the held-out examples, see `eetool.data.splits.split_source`.
        statistics: any examples, for the normalisation of the network.
        target, options: see `Search`.
        progress: shows the steps.

    Raises:
        UsageError: options that only a space has a use for.
        ArtefactError: the network is not trained for these data.
    """

    def __init__(
        self,
        backbone: TappedBackbone,
        source: Source,
        hold_out: str,
        statistics: TrainingExamples,
        target: SearchTarget,
        options: SearchOptions,
        progress: Progress = SILENT,
    ) -> None:
        if options.fine_tune:
            raise UsageError("--fine-tune trains the backbone, which stays as it is here", "Leave it out.")
        if options.torch_device != CPU:
            raise UsageError(f"exits on a backbone are trained on the CPU, not on {options.torch_device}")
        whole = backbone_search_data(source, hold_out, backbone.spec.inputs, statistics, options.examples, options.seed)
        held_out = len(whole.threshold.labels) + len(whole.judge.labels)
        taps, count = _affordable(backbone, held_out, len(whole.branches.labels))
        if len(taps.taps) < len(backbone.taps) or count < len(whole.branches.labels):
            progress.note(
                f"exits are searched at {len(taps.taps)} of {counted(len(backbone.taps), 'place')}, trained on "
                f"{counted(count, 'example')}: more features do not fit (EETOOL_FEATURES_GB)"
            )
        super().__init__(backbone_space(taps.spec, taps.taps), target, options)
        self.backbone, self.progress = taps, progress
        self._data = replace(whole, branches=whole.branches.first(count))
        with torch.no_grad():
            answers = torch.cat([taps.net(images)[-1].argmax(1) for images in whole.judge.batches()])
        require_trained(taps.spec.backbone, (answers == whole.judge.labels).numpy(), whole.judge.labels.numpy())

    @property
    def data(self) -> SearchData:
        """Examples of the search."""
        return self._data

    @property
    def weights_sha256(self) -> str:
        """Hash of the backbone, its weights and the places of exits."""
        names = [tap.name for tap in self.backbone.taps]
        return hashlib.sha256(f"{backbone_digest(self.backbone.net)} {names}".encode()).hexdigest()

    def evaluator(self) -> BackboneEvaluator:
        """Return the evaluator of candidates."""
        settings = self.evaluation_settings()
        return BackboneEvaluator(self.space, self.backbone, self.data, self.estimator, settings, self.progress)

    def unsplit_network(self) -> tuple[ModelSpec, EarlyExitNet]:
        """Return the network without exits."""
        return self.backbone.spec, self.backbone.net

    def front(self, candidates: list[Candidate], study: str) -> Front:
        """Return the front, with the cheapest network within the accuracy drop, see `Search.front`."""
        front = super().front(candidates, study)
        full = [c.exit_accuracies[-1] for c in candidates if isinstance(c, EvaluatedCandidate)]
        return replace(front, cheapest=cheapest_within(front, full[0] - self.options.max_accuracy_drop / 100))


def _affordable(backbone: TappedBackbone, held_out: int, count: int) -> tuple[TappedBackbone, int]:
    """Return the backbone with as many of its taps, and the number of training examples, that the cache has room for.

    Examples are left out first, and then every second tap.
    """
    limit, taps = _SHARE * limit_bytes(), backbone.taps
    while True:
        largest = max(bytes_per_example([tap]) for tap in taps)
        fitting = int(min(limit // bytes_per_example(taps) - held_out, _MOST_BYTES // largest))
        if fitting >= min(count, _FEWEST) or len(taps) == 1:
            return replace(backbone, taps=taps), max(1, min(count, fitting))
        taps = _every_second(taps)


def _every_second(taps: tuple[TapCost, ...]) -> tuple[TapCost, ...]:
    """Return about half of the taps, spread evenly."""
    places = np.unique(np.linspace(0, len(taps) - 1, len(taps) // 2).round().astype(int))
    return tuple(taps[i] for i in places)
