"""The network that the options of `eetool train` describe: a reference, or a candidate of a search."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eetool.cli.output import say
from eetool.cli.train_request import TrainRequest, exit_plan, listed_names

if TYPE_CHECKING:
    from eetool.data.image_form import DataChoice
    from eetool.train.exit_plan import ExitPlan


@dataclass(frozen=True)
class TrainNetwork:
    """Backbone, exits and arguments of the network to train."""

    backbone: str
    plan: "ExitPlan"
    config: dict[str, Any] | None = None


def train_network(request: TrainRequest) -> TrainNetwork:
    """Return the network that the options describe, or the candidate of a search."""
    if request.model is not None:
        return TrainNetwork(request.model, exit_plan(request))
    from eetool.model.references.output_choice import OutputChoice
    from eetool.search.search_results import pick_candidate, read_front, trusted
    from eetool.train.exit_plan import ExitPlan

    assert request.front is not None
    candidate = pick_candidate(read_front(request.front), request.pick)
    backbone, config = trusted(candidate, request.named, str(request.front))
    say(f"candidate {candidate.id}: its gates use {candidate.score} (eetool tune --score {candidate.score})")
    outputs = OutputChoice(listed_names(request.logits))
    plan = ExitPlan(len(candidate.taps), candidate.branches or None, candidate.taps, outputs=outputs)
    return TrainNetwork(backbone, plan, config)


def at_its_size(
    request: TrainRequest, data: "DataChoice", network: TrainNetwork
) -> "tuple[TrainRequest, DataChoice, TrainNetwork]":
    """Return photographs at the size of a candidate, so that the model reads them so and its graph resizes nothing."""
    from eetool.data.image_form import DataChoice, split_size
    from eetool.data.source_names import FOLDER
    from eetool.model.backbones.names import own_size

    size, (kind, _, path) = own_size(network.backbone), data.name.partition(":")
    if size is None or kind != FOLDER:
        return request, data, network
    folder, _ = split_size(path)
    shape = None if request.shape is None else (*request.shape[:-2], size, size)
    sized = DataChoice(f"{FOLDER}:{folder}@{size}", shape, data.fit)
    say(f"photographs are read at {size}x{size}, the size of the candidate")
    plain = replace(network, backbone=network.backbone.partition("@")[0])
    return replace(request, data=sized.name, shape=shape), sized, plain
