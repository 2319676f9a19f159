"""Rules of a checkpoint that its types do not express: between its record and its tensors."""

import math

import torch
from torch import Tensor

from eetool.model.branches import BranchSpec
from eetool.model.gate_scores import LEARNED, SCORES
from eetool.model.goals import invalid_goal
from eetool.model.history import invalid_history
from eetool.model.layouts import LAYOUTS
from eetool.model.own_exits import own_taps
from eetool.model.spec import (
    CASCADE,
    CONTENTS,
    OWN,
    CheckpointRecord,
    ModelSpec,
    Policy,
    StreamFit,
    invalid_drops,
    member_branches,
    member_taps,
)
from eetool.model.weight_values import find_invalid
from eetool.names import find_unfit
from eetool_runtime.manifest import BATCH, DTYPES, FILTERS, FITS, NEVER, Input
from eetool_runtime.records import Refuse
from eetool_runtime.stream_checks import policy_problem, rates_problem

FULL = "full"
MAX_MEMBERS = 8  # of a cascade
_MAX_ELEMENTS = 1 << 26  # of one input at batch 1
_MAX_DIMENSIONS = 8
_MAX_SCALE = 1e6  # of temperatures, as in a bundle


def check_checkpoint(
    record: CheckpointRecord, state: dict[str, Tensor], samples: dict[str, Tensor], refuse: Refuse
) -> None:
    """Check a checkpoint that was read from a file.

    Args:
        record: the record.
        state: tensors of the network by name.
        samples: sample inputs by input name.
        refuse: makes the error of a reason.

    Raises:
        Exception: made by `refuse`, for the first rule that does not hold.
    """
    spec, policy = record.spec, record.policy
    _check_tensors(state, refuse)
    _check_tensors(samples, refuse)
    for what, tensors in (("its weights", state), ("its sample inputs", samples)):
        invalid = find_invalid(tensors)
        if invalid is not None:
            raise refuse(f"{what}: {invalid}")
    _check_names(record, refuse)
    _check_spec(spec, refuse)
    _check_samples(spec, samples, refuse)
    _check_members(spec, refuse)
    if policy:
        if len(policy.temperatures) != len(spec.taps) + 1:
            raise refuse("it has more or fewer temperatures than exits")
        _check_policy(policy, spec, refuse)
    problem = invalid_history(record.history, len(spec.taps) + 1) if record.history is not None else None
    if problem is None and record.contents is not None and CONTENTS.fullmatch(record.contents) is None:
        problem = "its fingerprints of examples are none"
    if problem is not None:
        raise refuse(problem)


def _check_spec(spec: ModelSpec, refuse: Refuse) -> None:
    """Refuse a network, or a network of a cascade, that no training records."""
    _check_inputs(spec, refuse)
    if len(spec.branches) != len(spec.taps):
        raise refuse("it has more or fewer branches than exits")
    if len(set(spec.taps)) != len(spec.taps):
        raise refuse("two exits are at one tap")
    if not spec.labels:
        raise refuse("it has no labels")
    if len(spec.layouts) not in (0, len(spec.taps)) or not set(spec.layouts) <= set(LAYOUTS):
        raise refuse(f"it does not hold one layout of {', '.join(LAYOUTS)} for each early exit")
    _check_outputs(spec, refuse)
    for branch in () if spec.has_own_exits or spec.members else spec.branches:
        BranchSpec.parse(branch)


def _check_members(spec: ModelSpec, refuse: Refuse) -> None:
    """Refuse members that make no cascade, and a cascade that does not have their exits."""
    if (spec.backbone == CASCADE) != bool(spec.members) or len(spec.members) == 1:
        raise refuse("a cascade has two or more networks, and nothing else has any")
    if len(spec.members) > MAX_MEMBERS:
        raise refuse(f"it is a cascade of more than {MAX_MEMBERS} networks")
    inputs = {item.name: item for item in spec.inputs}
    for member in spec.members:
        if member.spec.members or member.spec.labels != spec.labels or member.spec.learned_confidence:
            raise refuse("a network of its cascade is a cascade, has other classes, or has a learned confidence")
        _check_spec(member.spec, refuse)
        given = [inputs.get(name) for name in member.reads]
        pairs = zip(given, member.spec.inputs, strict=False)
        if len(given) != len(member.spec.inputs) or any(g is None or not is_same_form(g, own) for g, own in pairs):
            raise refuse("a network of its cascade does not read the inputs of the cascade")
    own = spec.config, spec.learned_confidence, spec.cascade, spec.layouts, spec.outputs
    exits = member_taps(spec.parts), member_branches(spec.parts)
    if spec.members and ((spec.taps, spec.branches) != exits or own != (None, False, False, (), ())):
        raise refuse("its exits are not those of the networks of its cascade")


def is_same_form(given: Input, own: Input) -> bool:
    """Return whether a network can read an input of a cascade: all but the normalisation of pixels is the same."""
    if (given.preprocess is None) != (own.preprocess is None):
        return False
    resize = [item.preprocess.resize for item in (given, own) if item.preprocess is not None]
    form = (given.dtype, given.shape, given.text) == (own.dtype, own.shape, own.text)
    return form and len({rule is None or (rule.fit, rule.filter) for rule in resize}) < 2


def _check_outputs(spec: ModelSpec, refuse: Refuse) -> None:
    """Refuse outputs that no training records."""
    if spec.outputs and ":" not in spec.backbone:
        raise refuse("its network returns one tensor, and it names outputs")
    if not spec.has_own_exits:
        return
    attached = spec.cascade or spec.ensemble or spec.learned_confidence or set(spec.branches) != {OWN}
    if attached or len(set(spec.outputs)) < len(spec.outputs) or spec.taps != own_taps(spec.outputs):
        raise refuse("its exits are neither the network's own nor attached ones")


def _check_tensors(tensors: dict[str, Tensor], refuse: Refuse) -> None:
    """Refuse tensors that are larger than their storage, or that do not hold plain numbers."""
    for tensor in tensors.values():
        odd = tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_complex()
        if odd or tensor.device.type != "cpu":
            raise refuse("a tensor is not plain")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise refuse("a tensor is larger than what the file holds of it")


def _check_samples(spec: ModelSpec, samples: dict[str, Tensor], refuse: Refuse) -> None:
    """Refuse samples that are no inputs of the network."""
    if {i.name for i in spec.inputs} != set(samples):
        raise refuse("its inputs and its samples differ")
    for item in spec.inputs:
        sample = samples[item.name]
        if str(sample.dtype) != f"torch.{item.dtype}" or tuple(sample.shape[1:]) != item.shape[1:] or not len(sample):
            raise refuse("its inputs and its samples differ")


def _check_inputs(spec: ModelSpec, refuse: Refuse) -> None:
    names = [i.name for i in spec.inputs]
    if not names or len(set(names)) != len(names):
        raise refuse("it has no inputs, or two of one name")
    for item in spec.inputs:
        if item.dtype not in DTYPES:
            raise refuse("an input has an unknown dtype")
        if not _is_valid_shape(item):
            raise refuse("an input has no shape such as (batch, 3, 32, 32), or a very large one")
        if item.preprocess is not None and not _has_valid_preprocess(item):
            raise refuse("an input needs one mean and one deviation for each channel")
        rule = item.preprocess.resize if item.preprocess is not None else None
        if rule is not None and (rule.fit not in FITS or rule.filter not in FILTERS):
            raise refuse("an input has a rule of resizing that this version does not have")
        if item.picture is not None and (rule is None or len({i.shape[1:2] for i in spec.inputs}) > 1):
            raise refuse("a view of a picture has no rule of resizing, or channels of its own")


def _is_valid_shape(item: Input) -> bool:
    first, *sizes = item.shape or (None,)
    positive = [size for size in sizes if isinstance(size, int) and size > 0]
    valid = 0 < len(positive) == len(sizes) < _MAX_DIMENSIONS
    return first == BATCH and valid and math.prod(positive) <= _MAX_ELEMENTS


def _has_valid_preprocess(item: Input) -> bool:
    rule = item.preprocess
    assert rule is not None
    channels = item.shape[1] if len(item.shape) == 4 and item.dtype == "float32" else None
    divisors = (rule.scale, *rule.std)
    return len(rule.mean) == len(rule.std) == channels and all(_is_valid_divisor(value) for value in divisors)


def _check_policy(policy: Policy, spec: ModelSpec, refuse: Refuse) -> None:
    """Refuse a policy that no bundle may hold, before anything is traced."""
    if {len(policy.slopes), len(policy.offsets)} not in ({0}, {len(policy.temperatures)}):
        raise refuse("it has more or fewer slopes or offsets than exits")
    if policy.score not in SCORES or (policy.score == LEARNED and not spec.learned_confidence):
        raise refuse(f"its gates go by a score that it does not have: {policy.score!r}")
    if not all(_is_valid_divisor(value) for value in (*policy.temperatures, *policy.slopes)):
        raise refuse("a temperature or a slope does not lie in [1e-6, 1e6]")
    if not all(abs(value) <= _MAX_SCALE for value in policy.offsets):
        raise refuse("an offset does not lie in [-1e6, 1e6]")
    problem = invalid_goal(policy.goals) if policy.goals is not None else None
    if problem is not None:
        raise refuse(problem)
    if (problem := invalid_drops(policy.expected_drops)) is not None:
        raise refuse(problem)
    if FULL not in policy.operating_points:
        raise refuse("its policy has no operating point `full`")
    if policy.default is not None and policy.default not in policy.operating_points:
        raise refuse("its default operating point does not exist")
    for point in policy.operating_points.values():
        if len(point.thresholds) != len(spec.taps):
            raise refuse("an operating point has more or fewer thresholds than early exits")
        if not all(t is None or 0 <= t <= NEVER for t in point.thresholds):
            raise refuse(f"a threshold does not lie in [0, {NEVER:g}]")
    if policy.stream is not None and (problem := _stream_problem(policy.stream, spec)) is not None:
        raise refuse(f"its operating points for streams: {problem}")


def _stream_problem(fit: StreamFit, spec: ModelSpec) -> str | None:
    """Return what no bundle may hold of operating points for streams, or None."""
    if not 0 < fit.period_s < math.inf or fit.default not in fit.points:
        return "the period of a frame is not above 0, or the default point does not exist"
    problems = (policy_problem(point.policy, len(spec.taps)) for point in fit.points.values())
    return (
        rates_problem(fit.base_rates, len(spec.labels))
        or next(filter(None, problems), None)
        or invalid_drops(fit.expected_drops)
    )


def _is_valid_divisor(value: float) -> bool:
    return 1 / _MAX_SCALE <= value <= _MAX_SCALE


def _check_names(record: CheckpointRecord, refuse: Refuse) -> None:
    """Refuse a name that a bundle could not hold."""
    texts, names = list(record.spec.texts), [i.name for i in record.spec.inputs]
    names += [i.picture for i in record.spec.inputs if i.picture is not None]
    if record.data is not None:
        texts += [record.data.source, *record.data.splits]
    if record.policy is not None:
        names += [record.policy.score, *record.policy.operating_points]
    complaint = find_unfit(texts, names)
    if complaint is not None:
        raise refuse(complaint)
