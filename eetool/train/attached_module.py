"""Exits on a module of the user's own, which the user trains; the module itself becomes the backbone."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.backbones.registry import is_text
from eetool.model.checkpoint import Checkpoint, build_net
from eetool.model.early_exit import AttachedModel, EarlyExitNet
from eetool.model.module_state import load_state
from eetool.model.network_check.trial_run import TrialTraining, try_training
from eetool.model.own_exits import OwnExitNet
from eetool.model.references import resolve
from eetool.model.references.factory_call import is_factory
from eetool.model.references.network_form import accepted_form
from eetool.model.spec import CheckpointRecord, ModelSpec, TrainingSettings
from eetool.progress import SILENT, Progress
from eetool.train.exit_plan import ExitPlan, make_spec
from eetool.train.module_example import Example, describe_example, enough_samples, named_tensors
from eetool.train.module_reference import Code, folder_of_commands, module_reference
from eetool.train.module_twin import verified_reference
from eetool.train.network_trial import try_network

OWN_LOOP = TrainingSettings("own", 0, 0, 0, 0.0)  # training that eetool did not see
_INSIDE = "Attach exits to the network inside, and wrap the result: Wrapper(eetool.attach_exits(module.module, …))."


def attach_to_module(
    module: nn.Module,
    example: Example,
    plan: ExitPlan,
    code: Code | None = None,
    classes: int | None = None,
    frozen: bool = False,
    progress: Progress = SILENT,
) -> EarlyExitNet:
    """Return `module` with exits. Its weights, mode and torch device stay as they are, and it is not copied.

    The network is built a second time by its reference, with the weights of `module`, and must give the same logits.
    So what is trained can be saved as a `model.pt` and built again from it.

    Args:
        module: the network. That of torch.compile is replaced by the network inside.
        example: a batch of its inputs (N, …): one tensor, several, or `{name: tensor}`.
        plan: positions and branches of exits.
        code: reference or factory that builds the network; by default its class, called without arguments.
        classes: number of classes; by default the width of the logits.
        frozen: only the exits are going to be trained.
        progress: receives notes.

    Raises:
        UsageError: the module is wrapped or compiled, no command would find its code or build the same network, or the
            exits do not fit.
        ArtefactError: the module's own code fails.
    """
    module = inner_module(module)
    device = _device(module)
    inputs, tensors = describe_example(module, example)
    name = module_reference(module, code)
    folder = folder_of_commands(name)
    if folder is not None:
        warnings.warn(f"commands will find {name} only where they are started in {folder}", stacklevel=3)
    frozen = frozen or not any(weight.requires_grad for weight in module.parameters())
    with torch.random.fork_rng(devices=[]):
        reference = verified_reference(module, name, inputs, tensors, device, plan.outputs, classes)
        labels = tuple(map(str, range(reference.classes)))
        spec = make_spec(reference, inputs, labels, plan, progress, TrialTraining(frozen=frozen))
    samples = enough_samples(tensors, reference)
    built = _build_and_try(module, spec, samples, frozen, progress)
    net = _on_module(module, built, spec)
    net.attached = AttachedModel(spec, samples)
    for part in (net.exits, net.ensembles):
        part.to(device).train(module.training)
    if frozen:
        net.freeze_backbone(*(x[:2].to(device) for x in samples.values()))
        net.frozen = True
    net.training = module.training
    return net.train() if frozen and module.training else net


def _build_and_try(
    module: nn.Module, spec: ModelSpec, samples: dict[str, Tensor], frozen: bool, progress: Progress
) -> EarlyExitNet:
    """Return a copy of the network with fresh exits, after a trial of its training and its inference.

    Raises:
        ArtefactError, UsageError: see `eetool.model.network_check`.
    """
    seed = int(torch.randint(1 << 31, ()))  # the exits' weights follow torch.manual_seed, as those of any module
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build_net(spec)
        load_state(built.backbone, {name: x.cpu() for name, x in module.state_dict().items()})
        inputs = tuple(samples.values())
        for line in try_training(built, inputs, TrialTraining(frozen=frozen), spec.backbone):
            progress.note(line)
        try_network(built, Checkpoint(CheckpointRecord(spec, OWN_LOOP), built.state_dict(), samples), None)
    return built


def build_by_name(name: str, example: Example, classes: int | None, plan: ExitPlan) -> nn.Module:
    """Return the network called `name` with fresh weights, for inputs such as `example`.

    Raises:
        UsageError: there is no such network, or the number of its classes is not known.
    """
    tensors = named_tensors(nn.Identity(), example)
    first = next(iter(tensors.values()))
    if is_text(name):
        raise UsageError(f"an example does not show how many words {name} has to know", "Train it by eetool.train.")
    if classes is None and not is_factory(name):
        raise UsageError(f"the number of classes of {name} is not known", "Give classes=.")
    shape = tuple(first.shape) if len(tensors) == 1 else None
    found = resolve.resolve(name, shape, classes, choice=plan.outputs)
    return resolve.build_raw(found.backbone, found.inputs, found.classes, found.config)


def inner_module(module: Any) -> nn.Module:
    """Return the network inside the wrapper of torch.compile, or `module` itself.

    Raises:
        UsageError: it is no module, has exits already, or is in a wrapper that exits cannot be inside of.
    """
    compiled = getattr(module, "_orig_mod", None)
    module = compiled if isinstance(compiled, nn.Module) else module
    if not isinstance(module, nn.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise UsageError(f"exits are attached to a torch.nn.Module, not to {kind}", "Give the network itself.")
    if isinstance(module, EarlyExitNet):
        raise UsageError("this module has exits already", "Attach all of them in one call: exits=N or at=[…].")
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        raise UsageError(f"exits cannot be attached through {type(module).__name__}", _INSIDE)
    return module


def _device(module: nn.Module) -> torch.device:
    """Return the torch device of a module; raises UsageError where it has none, or its weights cannot be used."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    odd = [name for name, value in module.state_dict().items() if not isinstance(value, Tensor)]
    if odd:
        raise UsageError(f"the state {odd[0]} is no tensor, and a model.pt holds tensors alone", "Store it elsewhere.")
    lazy = [name for name, x in tensors.items() if nn.parameter.is_lazy(x)]
    if lazy:
        raise UsageError(f"{lazy[0]} has no shape yet (a lazy layer)", "Write its size in place of Lazy….")
    devices = sorted({str(x.device) for x in tensors.values()})
    if len(devices) > 1:
        raise UsageError(f"the weights are on several torch devices: {', '.join(devices)}", "Move them to one.")
    other = [f"{name} {x.dtype}" for name, x in tensors.items() if x.is_floating_point() and x.dtype != torch.float32]
    if other:
        raise UsageError(
            f"weights are not float32: {other[0]}",
            "Call module.float() first; torch.autocast trains in other formats.",
        )
    if "meta" not in devices:  # accepted_form says why those are refused
        device = torch.device(devices[0] if devices else "cpu")
        if device.type != "cpu":
            return device
    accepted_form(module, type(module).__name__)
    return torch.device("cpu")


def _on_module(module: nn.Module, built: EarlyExitNet, spec: ModelSpec) -> EarlyExitNet:
    """Return a network of the user's module and the exits of `built`."""
    if spec.has_own_exits:
        return OwnExitNet(module, spec.outputs)
    output = spec.outputs[-1] if spec.outputs else None
    return EarlyExitNet(module, built.branches, tuple(built.ensembles), output)
