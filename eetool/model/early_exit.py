"""Early-exit networks: any module, with exits attached to named modules inside it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.branches import Branch
from eetool.model.references.outputs import as_float32, find_output
from eetool.model.spec import ModelSpec
from eetool.model.user_code import user_code
from eetool_runtime.near_names import known_names

_STACKS = (nn.Sequential, nn.ModuleList)


@dataclass(frozen=True)
class AttachedModel:
    """Description of a module of the user's own that exits are attached to, with which it is saved.

    Attributes:
        spec: the network, with numbers as names of its classes.
        samples: a few inputs (n, …) by input name.
    """

    spec: ModelSpec
    samples: dict[str, Tensor]


@dataclass(frozen=True)
class ExitOutputs:
    """Outputs of every exit, the final exit last.

    Attributes:
        logits: (N, classes) each.
        learned: confidence logits (N,) each; None for exits without a confidence head.
        own: (N, classes) each, logits before the ensemble. The final exit is in no ensemble.
    """

    logits: tuple[Tensor, ...]
    learned: tuple[Tensor | None, ...]
    own: tuple[Tensor, ...]


class EarlyExitNet(nn.Module):
    """A backbone whose module outputs at `taps` feed exits.

    Args:
        backbone: any module that maps its inputs to logits (N, classes).
        exits: exit at each tap (a dotted module name), from shallow to deep.
        ensembles: one for every early exit except the first, or none, see `eetool.model.ensemble`.
        output: name of the backbone's output that holds its logits, where it returns more than one.

    Attributes:
        attached: description of a module of the user's own; None for a network that was built from a reference.
        frozen: only the early exits learn; `train` leaves the backbone in evaluation mode.
    """

    attached: AttachedModel | None = None
    frozen = False

    def __init__(
        self,
        backbone: nn.Module,
        exits: Mapping[str, nn.Module],
        ensembles: Sequence[nn.Module] = (),
        output: str | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.output = output
        self.taps = tuple(exits)
        self.exits = nn.ModuleList(exits.values())
        self.ensembles = nn.ModuleList(ensembles)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (N, classes) of every exit, the final exit last; no exit is skipped.

        Raises:
            UsageError: torch.nn.DataParallel runs several replicas; or see `capture_outputs`.
        """
        if getattr(self, "_is_replica", False):  # hooks are shared by all replicas of one process
            raise UsageError(
                "torch.nn.DataParallel runs replicas of a network in threads, which early exits do not support",
                "Use torch.nn.parallel.DistributedDataParallel, which has a process for each GPU.",
            )
        return self.forward_outputs(*inputs).logits

    def forward_with_confidence(self, *inputs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        """Return the logits (N, classes) and the confidence logits (N,) of every exit, None without a head for them."""
        outputs = self.forward_outputs(*inputs)
        return outputs.logits, outputs.learned

    def forward_outputs(self, *inputs: Tensor) -> ExitOutputs:
        """Return all outputs. In training no gradient flows from an exit to the exit before, whose logits it reads."""
        with capture_outputs(self.backbone, self.taps) as features:
            final = self.backbone(*inputs)
        if self.output is not None:
            found = find_output(final, self.output)
            final = final if found is None else as_float32(found, self.backbone)
        if not isinstance(final, Tensor):
            raise UsageError(
                f"the backbone returns {type(final).__name__}{' in train mode' * self.backbone.training}, "
                "not one tensor of logits",
                "Let its forward return the same in both modes, or wrap it in a module that does.",
            )
        return self.forward_exits([features[tap] for tap in self.taps], final)

    def forward_exits(self, features: Sequence[Tensor], final: Tensor, from_reduced: bool = False) -> ExitOutputs:
        """Return all outputs, from the features at every tap and the logits (N, classes) of the backbone.

        With `from_reduced` the features are what `Branch.reduce` returns.
        """
        logits, learned, own = list[Tensor](), list[Tensor | None](), list[Tensor]()
        for index, (x, branch) in enumerate(zip(features, self.exits, strict=True)):
            before = self._detach(logits[-1]) if logits else None
            own_logits, confidence = _forward_branch(branch, x, before, from_reduced)
            combined = self.ensembles and before is not None
            logits.append(self.ensembles[index - 1](self._detach(own_logits), before) if combined else own_logits)
            learned.append(confidence)
            own.append(own_logits)
        return ExitOutputs((*logits, final), (*learned, None), (*own, final))

    @property
    def branches(self) -> dict[str, nn.Module]:
        """Attached exits by tap; empty where the exits are the network's own."""
        return dict(zip(self.taps, self.exits, strict=True))

    def freeze_backbone(self, *inputs: Tensor) -> None:
        """Let only the early exits learn. `inputs` are an example of the network's inputs."""
        self.backbone.requires_grad_(False)

    def train_exits(self) -> None:
        """Set the early exits to training mode; the backbone keeps the statistics that its weights have."""
        super().train()
        self.backbone.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode, of the early exits alone where the backbone is frozen."""
        if mode and self.frozen:
            self.train_exits()
            return self
        return super().train(mode)

    def _detach(self, logits: Tensor) -> Tensor:
        return logits.detach() if self.training else logits


def _forward_branch(
    branch: nn.Module, features: Tensor, before: Tensor | None, from_reduced: bool
) -> tuple[Tensor, Tensor | None]:
    if isinstance(branch, Branch):
        if from_reduced:
            return branch.forward_from_reduced(features, before)
        return branch.forward_with_confidence(features, before)
    return branch(features), None


@contextmanager
def capture_outputs(backbone: nn.Module, taps: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the modules named `taps` while the backbone runs inside the block.

    Raises:
        UsageError: a tap does not exist, does not return a tensor of floats (alone or first), or runs more than once.
        ArtefactError: the backbone's own code fails.
    """
    features: dict[str, Tensor] = {}

    def hook_for(tap: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if tap in features:
                raise UsageError(f"tap {tap!r} runs more than once in one forward pass", "Tap a module that runs once.")
            tensor = first_tensor(output)
            if tensor is None:
                kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
                raise UsageError(f"tap {tap!r} returns {kind}, not one tensor of floats", "Tap another module.")
            features[tap] = tensor

        return hook

    handles = [find_tap(backbone, tap).register_forward_hook(hook_for(tap)) for tap in taps]
    try:
        with user_code("the network", backbone):
            yield features
    finally:
        for handle in handles:
            handle.remove()
    missing = [tap for tap in taps if tap not in features]
    if missing:
        raise UsageError(f"tap {missing[0]!r} does not run in the forward pass", "Tap another module.")


def find_tap(backbone: nn.Module, tap: str) -> nn.Module:
    """Return the module called `tap`; raises UsageError with the possible taps."""
    modules = dict(backbone.named_modules(remove_duplicate=False))
    if not tap or tap not in modules:
        raise UsageError(f"unknown tap {tap!r}", known_names(tap, candidate_taps(backbone), "Possible taps"))
    module: nn.Module = modules[tap]
    return module


def first_tensor(output: Any) -> Tensor | None:
    """Return the float tensor that an exit reads from a module's output: the output itself, or its first item."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


def candidate_taps(backbone: nn.Module) -> tuple[str, ...]:
    """Return the names of a backbone's blocks: the items of its outermost Sequentials and ModuleLists."""
    return tuple(name for name, level in stack_levels(backbone).items() if level == 0)


def stack_levels(backbone: nn.Module) -> dict[str, int]:
    """Return every module's stack level: 0 for items of the outermost stacks, 1 for items of inner stacks, else 2."""
    modules = dict(backbone.named_modules(remove_duplicate=False))
    levels: dict[str, int] = {}
    inside: dict[str, bool] = {"": False}  # True where this module or one above it is an item of a stack
    for name, module in modules.items():
        if name:
            parent = name.rpartition(".")[0]
            item = isinstance(modules[parent], _STACKS) and not isinstance(module, _STACKS)
            levels[name] = (1 if inside[parent] else 0) if item else 2
            inside[name] = inside[parent] or item
    return levels
