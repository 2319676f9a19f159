"""Plan of a network's exits, and the spec that follows from it: where they are attached, with which branches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from eetool.errors import UsageError
from eetool.model.branches import default_branch
from eetool.model.early_exit import EarlyExitNet
from eetool.model.exit_flow import keep_needed_taps
from eetool.model.layouts import TOKENS
from eetool.model.macs import count_macs
from eetool.model.network_check.trial_run import ROWS, TrialTraining, try_inference, try_training
from eetool.model.own_exits import OwnExitNet, order_exits, own_taps
from eetool.model.pooling import reads_first_token
from eetool.model.references import resolve
from eetool.model.references.example_inputs import example_inputs, random_samples
from eetool.model.references.output_choice import FIND, OutputChoice, choose_outputs
from eetool.model.references.reference import ModelReference
from eetool.model.references.reference_check import is_sized_by_name
from eetool.model.references.size_check import check_size
from eetool.model.spec import OWN, ModelSpec
from eetool.model.tap_layouts import choose_layouts, find_layouts, find_other_floats
from eetool.model.taps import TapCost, measure_taps, order_taps, place_exits
from eetool.names import find_unfit
from eetool.progress import SILENT, Progress
from eetool.wording import counted
from eetool_runtime.manifest import Input


@dataclass(frozen=True)
class ExitPlan:
    """Positions of exits, at named taps or `count` of them by cumulative MACs, and their branches.

    `branch` is one for all exits, or one for each from shallow to deep. Without it every exit gets the default branch
    for its features. `layouts` are those of the taps' features, one for all or one for each, where the network does not
    show them. `cascade` and `ensemble` are those of the spec.

    `outputs` says which outputs of the network hold its logits, and whether they are its own exits. Then no others are
    attached, and `count` is not used.
    """

    count: int
    branch: str | tuple[str, ...] | None = None
    taps: tuple[str, ...] = ()
    cascade: bool = False
    ensemble: bool = False
    layouts: tuple[str, ...] = ()
    outputs: OutputChoice = FIND


def make_spec(
    reference: ModelReference,
    inputs: tuple[Input, ...],
    labels: tuple[str, ...],
    plan: ExitPlan,
    progress: Progress = SILENT,
    training: TrialTraining | None = None,
) -> ModelSpec:
    """Return the spec of the backbone with exits by `plan`.

    Args:
        reference: the backbone.
        inputs: its inputs.
        labels: names of the classes.
        plan: positions and branches of exits.
        progress: receives notes.
        training: how it is going to be trained; None for inference alone.

    Raises:
        UsageError: the exits do not fit.
        ArtefactError: the backbone's own code fails in a trial run.
    """
    if is_sized_by_name(reference.backbone):
        check_size(lambda: resolve.build(reference.backbone, inputs, len(labels), reference.config))
    module = resolve.build_raw(reference.backbone, inputs, len(labels), reference.config).eval()
    outputs: tuple[str, ...] = ()
    if ":" in reference.backbone or plan.outputs != FIND:  # built-in backbones return one tensor
        outputs = choose_outputs(module, varied_inputs(reference), len(labels), plan.outputs, reference.backbone)
        resolve.keep_logits(module, outputs)
    resolve.check_backbone(module, reference)
    if ":" in reference.backbone:  # code of a library or of the user
        trial = tuple(random_samples(reference, ROWS, seed=0).values())
        try_inference(module, trial, len(labels), reference.backbone)
        if training is not None:
            net = OwnExitNet(module, outputs) if plan.outputs.own else EarlyExitNet(module, {})
            try_training(net, trial, training, reference.backbone)
    spec = ModelSpec(reference.backbone, inputs, labels, (), (), reference.config, outputs=outputs)
    if plan.outputs.own:
        spec = _with_own_exits(spec, module, plan, progress)
    else:
        spec = _with_attached_exits(spec, module, plan, reference)
    problem = find_unfit(spec.texts, [i.name for i in inputs])
    if problem is not None:
        raise UsageError(f"{reference.backbone}: {problem}", "Give it another name in the network or its factory.")
    return spec


def _with_own_exits(spec: ModelSpec, module: nn.Module, plan: ExitPlan, progress: Progress) -> ModelSpec:
    """Return the spec with the outputs of the network as its exits, in the order in which they run."""
    if plan.taps or plan.branch is not None or plan.layouts or plan.cascade or plan.ensemble:
        raise UsageError(
            "a network with its own exits gets no others, and no branches, layouts, cascade or ensemble",
            "Leave --at, --branch, --tap-layout, --cascade and --ensemble out, or leave out --exits own and name one "
            "output.",
        )
    outputs = order_exits(module, example_inputs(spec.inputs), spec.outputs, trusted=len(plan.outputs.named) > 1)
    if outputs != spec.outputs:
        progress.note(f"own exits from shallow to deep: {', '.join(outputs)}; not the order in which they are returned")
    taps = own_taps(outputs)
    return replace(spec, outputs=outputs, taps=taps, branches=(OWN,) * len(taps))


def _with_attached_exits(spec: ModelSpec, module: nn.Module, plan: ExitPlan, reference: ModelReference) -> ModelSpec:
    example = example_inputs(spec.inputs)
    measured, total = measure_taps(module, example), count_macs(module, example)
    if spec.outputs:
        measured, total = keep_needed_taps(module, example, measured)
    if plan.taps:
        taps = order_taps(module, example, plan.taps)
        if spec.outputs and len(keep_needed_taps(module, example, measure_taps(module, example, taps))[0]) < len(taps):
            raise UsageError(
                f"an exit at {', '.join(taps)} does not lie before {spec.outputs[-1]!r}", "Give other taps."
            )
    else:
        taps = _places(module, example, measured, total, plan.count)
    known = {tap.name: tap.layout for tap in measured}
    layouts = tuple(known.get(tap) or "" for tap in taps)
    if plan.layouts or not all(layouts):
        layouts = choose_layouts(find_layouts(module, example, taps), plan.layouts)
    if plan.branch is None:
        samples = varied_inputs(reference)  # zeros would look like one token
        first = bool(set(layouts) & set(TOKENS)) and reads_first_token(module, samples, measured)
        branches = tuple(default_branch(layout, first) for layout in layouts)
    else:
        branches = (plan.branch,) * len(taps) if isinstance(plan.branch, str) else plan.branch
        if len(branches) != len(taps):
            raise UsageError(
                f"{len(branches)} branches for {counted(len(taps), 'exit')}", "Give one for all, or one for each."
            )
    return replace(spec, taps=taps, branches=branches, cascade=plan.cascade, ensemble=plan.ensemble, layouts=layouts)


def _places(
    module: nn.Module, example: tuple[torch.Tensor, ...], measured: Sequence[TapCost], total: int, count: int
) -> tuple[str, ...]:
    """Place the exits; where features in other floats are the reason that they have no place, the error says so."""
    try:
        return place_exits(measured, total, count)
    except UsageError as error:
        other = find_other_floats(module, example)
        if not other:
            raise
        name, dtype = next(iter(other.items()))
        kind = f"{name} ({type(module.get_submodule(name)).__name__})"
        raise UsageError(
            f"{error.message}: from {kind} on, features are {str(dtype).removeprefix('torch.')}, not float32",
            "Leave autocast to the training (--mixed-precision bf16), or cast back in forward, as in x.float().",
        ) from None


def varied_inputs(reference: ModelReference) -> tuple[torch.Tensor, ...]:
    """Return a few inputs that differ; their number differs from that of the classes."""
    return tuple(random_samples(reference, 3 if reference.classes != 3 else 4, seed=0).values())
