"""Choice of the epoch whose weights are kept: the last that is not clearly worse than the best."""

import math

from torch import Tensor

from eetool.model.history import BEST

_ROUNDING = 1e-9


class EpochChoice:
    """Choice between epochs by the scores (N,) of their validation examples, as the epochs come.

    An epoch is clearly worse than the best one where the mean difference of their scores is larger than its standard
    error, that of paired differences (the rule of one standard error, Breiman et al., Classification and Regression
    Trees, 1984). Of the others the last one is kept, as the learning rate falls to 0.

    Args:
        keep: `best`, or `last` for the last epoch whatever its scores.
    """

    def __init__(self, keep: str) -> None:
        self._keep = keep
        self.best: Tensor | None = None  # scores of the epoch with the highest mean
        self.kept_epoch = 0

    def add(self, epoch: int, scores: Tensor | None) -> bool:
        """Return whether the weights of `epoch` are to be kept in place of those of an earlier one."""
        if self._keep == BEST and scores is not None:
            if self.best is not None and _is_clearly_worse(scores, self.best):
                return False
            if self.best is None or scores.mean() > self.best.mean():
                self.best = scores
        self.kept_epoch = epoch
        return True


def _is_clearly_worse(scores: Tensor, best: Tensor) -> bool:
    differences = best - scores
    if len(differences) < 2:
        return False
    error = float(differences.std()) / math.sqrt(len(differences))
    # A single example that is no longer correct is exactly one standard error, which rounding must not decide.
    return float(differences.mean()) > error * (1 + _ROUNDING)
