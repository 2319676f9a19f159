"""Identity of a training run: what it starts from, so that `--resume` continues the same run or refuses."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eetool.data.image_rows import ImageRows
from eetool.model.checkpoint import Checkpoint
from eetool.records import canonical
from eetool.train.training_examples import TrainingExamples

_SAMPLED = 1024  # examples whose contents are hashed; all of a large set would take minutes

# Differences, in the words of the command's options.
WORDS = {
    "settings": "settings",
    "taps": "exits",
    "examples": "numbers of training examples",
    "network": "layers or preprocessing (MODEL, --branch, --input, --fit, --normalize)",
    "weights": "initial weights (--weights)",
    "data": "training data",
}


def run_identity(start: Checkpoint, examples: TrainingExamples) -> dict[str, str]:
    """Return hashes of the network with its preprocessing, its initial weights, and the training data.

    Args:
        start: the network before its training.
        examples: training examples; the contents of up to 1,024 of them, evenly spaced, are hashed.
    """
    return {
        "network": _digest(canonical(start.record.spec).encode()),
        "weights": _digest(*(part for name, x in start.state.items() for part in (name.encode(), tensor_bytes(x)))),
        "data": _digest(
            canonical(start.record.data).encode(), tensor_bytes(examples.labels), _sampled_bytes(examples.images)
        ),
    }


def differences(stored: Any, own: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between the record of an interrupted run and that of this one.

    Records of earlier versions have no hashes, which then count as equal.
    """
    if not isinstance(stored, Mapping):
        return [WORDS["settings"]]
    return [words for name, words in WORDS.items() if name in own and stored.get(name, own[name]) != own[name]]


def tensor_bytes(x: Tensor) -> bytes:
    """Return the bytes of a tensor of any dtype."""
    raw: bytes = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return raw


def _sampled_bytes(images: Tensor | ImageRows) -> bytes:
    chosen = torch.from_numpy(np.unique(np.linspace(0, len(images) - 1, _SAMPLED).astype(np.int64)))
    return tensor_bytes(images.index_select(0, chosen))


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
