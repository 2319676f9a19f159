"""Outputs of every exit of a network for examples of a source, computed by torch in passes sized to the input."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from eetool.data.rows import Examples, rows_per_pass
from eetool.data.source import Source
from eetool.data.splits import THRESHOLD, recorded_split
from eetool.data.views import Views, inputs_by_name, take_examples
from eetool.errors import ArtefactError
from eetool.model.checkpoint import Checkpoint
from eetool.model.early_exit import EarlyExitNet
from eetool.model.memory_format import choose_memory_format, in_memory_format
from eetool.model.non_finite import count_non_finite, find_non_finite_module
from eetool.progress import SILENT, Advance, Progress


class NetworkAnswers:
    """Every exit of the network of `checkpoint`, which is built once."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._net, self._specs = checkpoint.build(), checkpoint.record.spec.inputs
        self._order: torch.memory_format | None = None

    def __call__(self, examples: np.ndarray | Views) -> tuple[np.ndarray, np.ndarray | None]:
        """Return logits (exits, n, classes) and learned confidences (early exits, n) in [0, 1], for examples (n, …)."""
        logits, learned = self.outputs(examples)
        return torch.stack(logits).numpy(), torch.stack(learned).sigmoid().numpy() if learned else None

    def outputs(
        self, examples: Examples | Views, advance: Advance = lambda steps: None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits (N, classes) of every exit, and outputs (N,) of confidence heads, for examples (N, …).

        Raises:
            ArtefactError: an output is not finite; the message names the module that computes it.
        """
        parts, step = [], rows_per_pass(examples.shape[1:])
        with torch.no_grad():
            for start in range(0, len(examples), step):
                arrays = inputs_by_name(examples[start : start + step], self._specs).values()
                inputs = self._arranged(tuple(torch.from_numpy(array) for array in arrays))
                parts.append(self._net.forward_with_confidence(*inputs))
                _require_finite(self._net, parts[-1][0], inputs)
                advance(len(inputs[0]))
        logits = [torch.cat(outputs) for outputs in zip(*(part[0] for part in parts), strict=True)]
        heads = zip(*(part[1] for part in parts), strict=True)
        learned = [torch.cat([x for x in outputs if x is not None]) for outputs in heads if outputs[0] is not None]
        return logits, learned

    def _arranged(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if self._order is None:
            self._order = choose_memory_format(self._net, *(x[:1] for x in inputs))
        return tuple(in_memory_format(x, self._order) for x in inputs)


def every_exit_logits(checkpoint: Checkpoint, examples: Examples | Views) -> list[Tensor]:
    """Return logits (N, classes) of every exit for examples (N, …) of a source."""
    return NetworkAnswers(checkpoint).outputs(examples)[0]


def exit_accuracies(checkpoint: Checkpoint, source: Source, progress: Progress = SILENT) -> tuple[list[float], int]:
    """Return the accuracy of every exit on the threshold split, and its size. Only `bench` uses the test split."""
    indices = recorded_split(source, THRESHOLD, checkpoint.record.data)
    labels = torch.from_numpy(source.labels[indices])
    with progress(f"answers, {THRESHOLD} split", len(indices)) as advance:
        logits, _ = NetworkAnswers(checkpoint).outputs(take_examples(source, indices), advance)
    return [float((x.argmax(1) == labels).float().mean()) for x in logits], len(indices)


def _require_finite(net: EarlyExitNet, logits: Sequence[Tensor], inputs: tuple[Tensor, ...]) -> None:
    for index, outputs in enumerate(logits):
        if counts := count_non_finite(outputs):
            fault = find_non_finite_module(net, lambda: net.forward_with_confidence(*inputs))
            cause = fault or f"of inputs up to {max(float(x.abs().max()) for x in inputs):.3g}"
            raise ArtefactError(f"exit {index} gives {counts}: {cause}", "Train it anew, or look at these inputs.")
