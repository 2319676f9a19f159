"""Trained networks joined to a cascade, with the checks that they belong together."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from eetool.errors import UsageError
from eetool.model.checkpoint import Checkpoint, build_net
from eetool.model.checkpoint_rules import MAX_MEMBERS, is_same_form
from eetool.model.network_cascade import member_prefix
from eetool.model.pixel_folding import fold_normalisation
from eetool.model.spec import (
    CASCADE,
    CheckpointRecord,
    Member,
    ModelSpec,
    TrainingSettings,
    member_branches,
    member_taps,
)
from eetool_runtime.manifest import Input

RECIPE = "none"  # nothing is trained
PICTURE = "image"  # name of the picture that views are made from
_CONFIDENCE = ".confidence."


def check_networks(networks: Sequence[Checkpoint], names: Sequence[str]) -> None:
    """Check that networks can make a cascade.

    Args:
        networks: in running order.
        names: their files, for messages.

    Raises:
        UsageError: there are too few or too many, one is a cascade itself, or they differ in classes, inputs or data.
    """
    if not 2 <= len(networks) <= MAX_MEMBERS:
        raise UsageError(f"a cascade has 2 to {MAX_MEMBERS} networks, and {len(networks)} given")
    for network, name in zip(networks, names, strict=True):
        if network.record.spec.members:
            raise UsageError(f"{name} is a cascade of {network.record.spec.title}", "Give its networks themselves.")
    for network, name in zip(networks[1:], names[1:], strict=True):
        first, spec = networks[0].record, network.record.spec
        _check_classes(first.spec.labels, names[0], spec.labels, name)
        _check_inputs(first.spec.inputs, names[0], spec.inputs, name)
        ours, theirs = (record.data.splits if record.data else None for record in (first, network.record))
        if ours != theirs:
            raise UsageError(
                f"{names[0]} and {name} record other data or other held-out examples, so that examples which one never "
                "saw may be training examples of the other",
                "Train both on the same data, with the same --hold-out.",
            )


def join_networks(networks: Sequence[Checkpoint], ensemble: bool) -> Checkpoint:
    """Return the cascade of networks that `check_networks` accepts.

    It reads pixels as the first network does, which always runs. Policies of the networks are dropped, and so are heads
    that give a learned confidence, which the classifiers of networks lack.

    Args:
        networks: in running order, two or more.
        ensemble: each exit adds the final logits of the network before to its own; the weights are initial ones.
    """
    first = networks[0].record
    views = _views(networks)
    inputs = tuple(dict.fromkeys(item for items in views for item in items))
    rules = [items[0].preprocess for items in views]
    folded = [fold_normalisation(x, rule) if rule else x for x, rule in zip(networks, rules, strict=True)]
    parts = [replace(network.record.spec, learned_confidence=False) for network in folded]
    members = tuple(
        Member(part, network.record.training, tuple(item.name for item in items))
        for part, network, items in zip(parts, networks, views, strict=True)
    )
    spec = ModelSpec(
        CASCADE,
        inputs,
        first.spec.labels,
        member_taps(parts),
        member_branches(parts),
        ensemble=ensemble,
        members=members,
    )
    settings = TrainingSettings(RECIPE, 0, 0, 0, 0.0, first.training.hold_out)
    record = CheckpointRecord(spec, settings, first.data, contents=first.contents)
    state = {
        **{name: x for name, x in build_net(spec).state_dict().items() if name.startswith("backbone.sums.")},
        **{f"{member_prefix(i)}{n}": x for i, network in enumerate(folded) for n, x in _kept(network).items()},
    }
    return Checkpoint(record, state, _samples(networks, views))


def _views(networks: Sequence[Checkpoint]) -> list[tuple[Input, ...]]:
    """Return the inputs of the cascade that each network reads.

    Networks of one size read the input of the first of them. Where sizes or rules of resizing differ, each is a view of
    one picture.
    """
    firsts: dict[tuple[object, ...], Input] = {}
    keys = []
    for network in networks:
        item = network.record.spec.inputs[0]
        keys.append((item.shape, item.preprocess.resize if item.preprocess is not None else None))
        firsts.setdefault(keys[-1], item)
    if len(firsts) == 1:
        return [networks[0].record.spec.inputs] * len(networks)
    names = [_view_name(item) for item in firsts.values()]
    unique = [f"{name}_{i}" if names.count(name) > 1 else name for i, name in enumerate(names)]
    named = {
        key: replace(item, name=name, picture=PICTURE) for (key, item), name in zip(firsts.items(), unique, strict=True)
    }
    return [(named[key],) for key in keys]


def _view_name(item: Input) -> str:
    """Return the name of a view, such as `image_128`, or `image_96x128` with its height and width."""
    return f"{PICTURE}_{'x'.join(dict.fromkeys(str(size) for size in item.shape[2:]))}"


def _samples(networks: Sequence[Checkpoint], views: Sequence[tuple[Input, ...]]) -> dict[str, Tensor]:
    """Return sample inputs by name: those of the first network that reads each."""
    samples: dict[str, Tensor] = {}
    for network, items in zip(networks, views, strict=True):
        for item, own in zip(items, network.record.spec.inputs, strict=True):
            samples.setdefault(item.name, network.samples[own.name])
    count = min(len(x) for x in samples.values())
    return {name: x[:count] for name, x in samples.items()}


def _kept(network: Checkpoint) -> dict[str, Tensor]:
    if not network.record.spec.learned_confidence:
        return network.state
    return {name: x for name, x in network.state.items() if not (name.startswith("exits.") and _CONFIDENCE in name)}


def _check_classes(ours: Sequence[str], our_name: str, theirs: Sequence[str], their_name: str) -> None:
    if ours == theirs:
        return
    if len(ours) != len(theirs):
        reason = f"{our_name} has {len(ours)} classes, and {their_name} has {len(theirs)}"
    else:
        index = next(i for i, pair in enumerate(zip(ours, theirs, strict=True)) if len(set(pair)) > 1)
        same = ", the same ones in another order" if sorted(ours) == sorted(theirs) else ""
        reason = f"class {index} is {ours[index]!r} in {our_name} and {theirs[index]!r} in {their_name}{same}"
    raise UsageError(reason, "The networks of a cascade are trained on the same classes in the same order.")


def _check_inputs(ours: Sequence[Input], our_name: str, theirs: Sequence[Input], their_name: str) -> None:
    if len(ours) == len(theirs) and all(is_same_form(a, b) for a, b in zip(ours, theirs, strict=True)):
        return
    photographs = len(ours) == len(theirs) == 1 and _is_photograph(ours[0]) and _is_photograph(theirs[0])
    if photographs and ours[0].shape[1] == theirs[0].shape[1]:
        return
    a, b = (", ".join(_describe(item) for item in inputs) for inputs in (ours, theirs))
    reason = f"{our_name} reads {a}, and {their_name} reads {b}"
    if a == b:
        reason = f"{our_name} and {their_name} make their inputs by other rules, of normalisation or vocabulary"
    raise UsageError(reason, "Only the normalisation of pixels may differ, and the size of photographs.")


def _is_photograph(item: Input) -> bool:
    """Return whether the input is made of photographs of any size."""
    return item.preprocess is not None and item.preprocess.resize is not None


def _describe(item: Input) -> str:
    rule = item.preprocess.resize if item.preprocess is not None else None
    fit = f" ({rule.fit}, {rule.filter})" if rule is not None else ""
    return f"{item.dtype} {'x'.join(map(str, item.shape))}{fit}"
