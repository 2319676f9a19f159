"""A teacher: a finished network whose answers others learn from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.checkpoint import load_checkpoint
from eetool.records import sha256_file
from eetool_runtime.manifest import Input


class Teacher:
    """The final exit of a model.pt, with the normalisation of its own.

    Args:
        views: how many versions of the augmented training set the run goes through, over and over; the answers to
            each are computed once. 0: every epoch has a version of its own, and the teacher answers all of them.
    """

    def __init__(self, net: nn.Module, spec: Input, views: int, examples: int, classes: int) -> None:
        self.net = net.eval().requires_grad_(False)
        assert spec.preprocess is not None
        rule = spec.preprocess
        self._scale = rule.scale
        self._mean, self._std = (torch.tensor(x)[:, None, None] for x in (rule.mean, rule.std))
        self._views, self.device = views, torch.device("cpu")
        # NaN: not yet asked. After an interruption the answers are simply asked for again.
        self._answers = torch.full((views, examples, classes), torch.nan)

    def __call__(self, images: Tensor, chosen: Tensor, epoch: int) -> Tensor:
        """Logits (n, classes) for uint8 `images` (n, C, H, W), the augmented examples `chosen` (n,) of this epoch."""
        if not self._views:
            return self._answer(images)
        known, chosen = self._answers[epoch % self._views], chosen.to(self.device)
        if known[chosen].isnan().any():
            known[chosen] = self._answer(images)
        return known[chosen]

    def _answer(self, images: Tensor) -> Tensor:
        inputs = (images.to(self.device).float() * self._scale - self._mean) / self._std
        with torch.no_grad():
            logits: Tensor = self.net(inputs).float()
        return logits

    def to(self, device: torch.device) -> None:
        """Answer from another torch device."""
        self.net.to(device)
        self._mean, self._std, self._answers = (x.to(device) for x in (self._mean, self._std, self._answers))
        self.device = device


def load_teacher(
    path: Path, labels: tuple[str, ...], shape: tuple[int, ...], named: Sequence[str] = ()
) -> tuple[str, Callable[[int, int], Teacher]]:
    """What names the teacher in a record, and a maker that takes the numbers of views and of examples.

    Raises:
        ArtefactError: `path` is no model.pt.
        UsageError: it needs a factory that is not `named`, or was made for other classes or other inputs.
    """
    checkpoint = load_checkpoint(path, named)
    spec = checkpoint.record.spec
    if spec.labels != labels:
        raise UsageError(f"the teacher {path} knows other classes than the data has", "Train it on the same data.")
    if len(spec.inputs) != 1 or spec.inputs[0].preprocess is None or tuple(spec.inputs[0].shape[1:]) != shape:
        raise UsageError(f"the teacher {path} does not read images of shape {shape}", "Train it on the same data.")
    backbone = checkpoint.build().backbone
    name = f"{spec.backbone} {sha256_file(path)[:16]}"
    return name, lambda views, examples: Teacher(backbone, spec.inputs[0], views, examples, len(labels))
