"""Training and test of trial exits, on features that are computed once."""

from collections.abc import Sequence

import numpy as np

from eetool.advise.exit_search import HeldOut
from eetool.advise.network import AdvisedNetwork
from eetool.advise.trial_exits import TrialExit, TrialFeatures, TrialNet, train_trial, trial_logits
from eetool.model.spec import TrainingSettings
from eetool.progress import Progress

_BATCH, _RATE = 64, 0.1


class Trials:
    """Trial exits of a network, trained on some of its training examples and tested on others.

    The training examples are in random order, so that the first half of them is a sample of them.

    Attributes:
        count: number of training examples.
    """

    def __init__(
        self,
        nets: Sequence[TrialNet],
        network: AdvisedNetwork,
        tested: Sequence[np.ndarray],
        most_examples: int,
        epochs: int,
        seed: int,
        progress: Progress,
    ) -> None:
        """Compute the features of all examples.

        Args:
            nets: the trial exits.
            network: the network, and all examples.
            tested: indices of the examples that exits are tested on, in parts whose features are kept apart.
            most_examples: number of training examples, at most.
            epochs: passes over them.
            seed: of their choice and of the training.
            progress: observer.
        """
        order = np.random.default_rng(seed).permutation(network.training)[:most_examples]
        self.count, self._progress = len(order), progress
        self._labels = network.source.labels[np.concatenate(tested)]
        batch = min(_BATCH, max(2, self.count // 2))
        self._settings = TrainingSettings("frozen", epochs, seed, batch, _RATE)
        self._training, *self._tested = (
            TrialFeatures(nets, network.examples(rows), progress) for rows in (order, *tested)
        )

    def judge(self, nets: Sequence[TrialNet], count: int | None = None) -> HeldOut[TrialExit]:
        """Train exits on the first `count` examples, or all; return their logits on the tested examples."""
        exits: list[tuple[TrialExit, np.ndarray]] = []
        final = np.zeros(0)
        for trial in nets:
            train_trial(trial, self._training, self._settings, self._progress, count)
            logits = np.concatenate([trial_logits(trial, features) for features in self._tested], 1)
            exits += list(zip(trial.exits, logits[:-1], strict=True))
            final = logits[-1]
        exits.sort(key=lambda item: item[0].place)
        stacked = np.stack([*(x for _, x in exits), final])
        return HeldOut(tuple(e for e, _ in exits), stacked, self._labels)
