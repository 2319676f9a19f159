"""Teacher of a distillation: a trained network whose logits are targets."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.checkpoint import load_checkpoint
from eetool.model.user_code import user_code
from eetool.records import sha256_file
from eetool_runtime.manifest import Input


class Teacher:
    """Final exit of a model.pt, with its own normalisation.

    Args:
        net: the backbone.
        spec: its input.
        views: number of augmented versions of the training set that the run repeats; logits of each are computed once.
            0: every epoch has its own version, and logits are computed in every epoch.
        examples: number of training examples.
        classes: number of classes.
    """

    def __init__(self, net: nn.Module, spec: Input, views: int, examples: int, classes: int) -> None:
        self.net = net.eval().requires_grad_(False)
        assert spec.preprocess is not None
        rule = spec.preprocess
        self._scale = rule.scale
        self._mean, self._std = (torch.tensor(x)[:, None, None] for x in (rule.mean, rule.std))
        self._views, self.device = views, torch.device("cpu")
        # NaN: not computed yet. After an interruption all logits are computed again.
        self._logits = torch.full((views, examples, classes), torch.nan)

    def __call__(self, images: Tensor, chosen: Tensor, epoch: int) -> Tensor:
        """Return logits (n, classes) for uint8 `images` (n, C, H, W), augmented examples `chosen` (n,) of an epoch."""
        if not self._views:
            return self._compute(images)
        known, chosen = self._logits[epoch % self._views], chosen.to(self.device)
        if known[chosen].isnan().any():
            known[chosen] = self._compute(images)
        return known[chosen]

    def _compute(self, images: Tensor) -> Tensor:
        inputs = (images.to(self.device).float() * self._scale - self._mean) / self._std
        with user_code("the teacher", self.net), torch.no_grad():
            logits: Tensor = self.net(inputs).float()
        return logits

    def to(self, device: torch.device) -> None:
        """Move to another torch device."""
        self.net.to(device)
        self._mean, self._std, self._logits = (x.to(device) for x in (self._mean, self._std, self._logits))
        self.device = device


def load_teacher(
    path: Path, labels: tuple[str, ...], shape: tuple[int, ...], named: Sequence[str] = ()
) -> tuple[str, Callable[[int, int], Teacher]]:
    """Return the name of a teacher in records, and a function from numbers of views and examples to the teacher.

    Raises:
        ArtefactError: `path` is no model.pt.
        UsageError: it needs a factory that is not `named`, or was made for other classes or other inputs.
    """
    checkpoint = load_checkpoint(path, named)
    spec = checkpoint.record.spec
    if spec.labels != labels:
        raise UsageError(f"the teacher {path} has other classes than the data", "Train it on the same data.")
    if len(spec.inputs) != 1 or spec.inputs[0].preprocess is None or tuple(spec.inputs[0].shape[1:]) != shape:
        raise UsageError(f"the teacher {path} does not read images of shape {shape}", "Train it on the same data.")
    backbone = checkpoint.build().backbone
    name = f"{spec.title} {sha256_file(path)[:16]}"
    return name, lambda views, examples: Teacher(backbone, spec.inputs[0], views, examples, len(labels))
