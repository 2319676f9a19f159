"""From a backbone reference to a checkpoint: build, place exits, train, take samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eetool.data.sources import Source
from eetool.data.splits import TEMPERATURE, THRESHOLD, TRAIN, split_record, split_source
from eetool.errors import UsageError
from eetool.model.backbones import build_backbone
from eetool.model.checkpoint import Checkpoint, ModelSpec, Record, Training, build_net, example_inputs
from eetool.model.macs import count_macs, measure_taps, order_taps, place_exits
from eetool.progress import SILENT, Progress
from eetool.train.loop import Examples, train
from eetool_runtime.manifest import Data, Input, Preprocess

_SAMPLES = 32


@dataclass(frozen=True)
class ExitPlan:
    """Where exits go: at named taps, or `count` of them by cumulative MACs; each with the branch `branch`."""

    count: int
    branch: str
    taps: tuple[str, ...] = ()


def make_spec(backbone: str, inputs: tuple[Input, ...], labels: tuple[str, ...], plan: ExitPlan) -> ModelSpec:
    """The spec of `backbone` with exits by `plan`; raises UsageError where they do not fit."""
    module = build_backbone(backbone, inputs[0].shape, len(labels)).eval()
    example = example_inputs(inputs)
    if plan.taps:
        taps = order_taps(module, example, plan.taps)
    else:
        taps = place_exits(measure_taps(module, example), count_macs(module, example), plan.count)
    return ModelSpec(backbone, inputs, labels, taps, (plan.branch,) * len(taps))


def fit(
    backbone: str,
    source: Source,
    plan: ExitPlan,
    settings: Training,
    state_file: Path,
    resume: bool = False,
    progress: Progress = SILENT,
) -> Checkpoint:
    """Train `backbone` with exits on the train split of `source`.

    The same seed, machine and number of torch threads give the same checkpoint, bit for bit.
    """
    splits = split_source(source)
    examples = _examples(source, splits[TRAIN])
    spec = make_spec(backbone, (_image_input(examples),), source.classes, plan)
    torch.manual_seed(settings.seed)
    net = build_net(spec)
    train(net, examples, settings, state_file, resume, progress)
    record = Record(spec, settings, Data(source.name, split_record(splits)))
    held_out = torch.from_numpy(source.images[splits[TEMPERATURE][:_SAMPLES]])
    return Checkpoint(record, net.state_dict(), {spec.inputs[0].name: examples.normalise(held_out)})


def attach(backbone: str, shape: Sequence[int], classes: int, plan: ExitPlan, seed: int) -> Checkpoint:
    """An early-exit model with fresh weights and no data; its samples are seeded noise."""
    if len(shape) < 2 or classes < 2:
        raise UsageError("an input shape with a batch dimension and at least two classes are needed")
    inputs = (Input("input", "float32", ("batch", *shape[1:])),)
    spec = make_spec(backbone, inputs, tuple(str(i) for i in range(classes)), plan)
    torch.manual_seed(seed)
    net = build_net(spec)
    noise = torch.randn(_SAMPLES, *shape[1:], generator=torch.Generator().manual_seed(seed))
    settings = Training("none", 0, seed, 0, 0.0)
    return Checkpoint(Record(spec, settings), net.state_dict(), {"input": noise})


def use_threads(count: int) -> None:
    """Train with `count` threads; the weights depend on it, because sums are then taken in another order."""
    torch.set_num_threads(count)


def _examples(source: Source, indices: np.ndarray) -> Examples:
    images = torch.from_numpy(source.images[indices])
    pixels = images.float() / 255
    mean = pixels.mean((0, 2, 3))  # (N, C, H, W) -> (C,)
    std = pixels.std((0, 2, 3))
    return Examples(images, torch.from_numpy(source.labels[indices]), mean, std, source.mirror)


def _image_input(examples: Examples) -> Input:
    rule = Preprocess(1 / 255, tuple(examples.mean.tolist()), tuple(examples.std.tolist()))
    return Input("input", "float32", ("batch", *examples.images.shape[1:]), rule)


def exit_accuracies(checkpoint: Checkpoint, source: Source) -> tuple[list[float], int]:
    """Accuracy of every exit on the threshold split, and its size. The test split is for `bench` alone."""
    indices = split_source(source)[THRESHOLD]
    labels = torch.from_numpy(source.labels[indices])
    logits = every_exit_logits(checkpoint, source.images[indices])
    return [float((x.argmax(1) == labels).float().mean()) for x in logits], len(indices)


def every_exit_logits(checkpoint: Checkpoint, images: np.ndarray, batch: int = 256) -> list[torch.Tensor]:
    """Logits (N, classes) of every exit for uint8 images (N, C, H, W), by torch."""
    from eetool_runtime.preprocess import normalise

    net = checkpoint.build()
    inputs = torch.from_numpy(normalise(images, checkpoint.record.spec.inputs[0]))
    with torch.no_grad():
        parts = [net(chunk) for chunk in torch.split(inputs, batch)]
    return [torch.cat([part[i] for part in parts]) for i in range(len(net.taps) + 1)]
