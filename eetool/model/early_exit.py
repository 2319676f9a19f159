"""EarlyExitNet: any module, with exits attached to named modules inside it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from eetool.errors import UsageError
from eetool.model.branches import Branch

_STACKS = (nn.Sequential, nn.ModuleList)


@dataclass(frozen=True)
class ExitOutputs:
    """Of every exit, the final one last: `logits` (N, classes), and what confidence heads say (N,), where there are.

    `own` are the logits of early exits before an ensemble, and of the final exit, which is in none: it answers as the
    backbone does.
    """

    logits: tuple[Tensor, ...]
    learned: tuple[Tensor | None, ...]
    own: tuple[Tensor, ...]


class EarlyExitNet(nn.Module):
    """A backbone whose module outputs at `taps` feed exits.

    Args:
        backbone: any module that maps its inputs to logits (N, classes).
        exits: tap (a dotted module name) to the exit there, from shallow to deep.
        ensembles: one for every early exit but the first, or none at all: see `eetool.model.ensemble`.
    """

    def __init__(
        self, backbone: nn.Module, exits: Mapping[str, nn.Module], ensembles: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.taps = tuple(exits)
        self.exits = nn.ModuleList(exits.values())
        self.ensembles = nn.ModuleList(ensembles)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, classes) of every exit, the final one last. Nothing is skipped: this is for training."""
        return self.answers(*inputs)[0]

    def answers(self, *inputs: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        """Logits (N, classes) of every exit, and what each exit's confidence head says (N,), where it has one."""
        found = self.run(*inputs)
        return found.logits, found.learned

    def run(self, *inputs: Tensor) -> ExitOutputs:
        """All that there is to say. While training, no gradient flows from an exit into those whose answer it reads."""
        with capture_outputs(self.backbone, self.taps) as features:
            final = self.backbone(*inputs)
        if not isinstance(final, Tensor):
            raise UsageError(
                f"the backbone returns {type(final).__name__}, not one tensor of logits",
                "Wrap it in a module that does.",
            )
        logits, learned, own = list[Tensor](), list[Tensor | None](), list[Tensor]()
        for index, (tap, head) in enumerate(zip(self.taps, self.exits, strict=True)):
            before = self._read(logits[-1]) if logits else None
            alone, sure = _answer(head, features[tap], before)
            together = self.ensembles and before is not None
            logits.append(self.ensembles[index - 1](self._read(alone), before) if together else alone)
            learned.append(sure)
            own.append(alone)
        return ExitOutputs((*logits, final), (*learned, None), (*own, final))

    def _read(self, logits: Tensor) -> Tensor:
        return logits.detach() if self.training else logits


def _answer(head: nn.Module, features: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return head.answer(features, before) if isinstance(head, Branch) else (head(features), None)


@contextmanager
def capture_outputs(backbone: nn.Module, taps: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what the modules named `taps` return while the backbone runs inside the block.

    Raises:
        UsageError: a tap does not exist, does not return a tensor of floats (alone or first), or runs more than once.
    """
    features: dict[str, Tensor] = {}

    def hook_for(tap: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if tap in features:
                raise UsageError(f"tap {tap!r} runs more than once in one forward pass", "Tap a module that runs once.")
            tensor = first_tensor(output)
            if tensor is None:
                found = output.dtype if isinstance(output, Tensor) else type(output).__name__
                raise UsageError(f"tap {tap!r} returns {found}, not one tensor of floats", "Tap another module.")
            features[tap] = tensor

        return hook

    handles = [find_tap(backbone, tap).register_forward_hook(hook_for(tap)) for tap in taps]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()
    missing = [tap for tap in taps if tap not in features]
    if missing:
        raise UsageError(f"tap {missing[0]!r} does not run in the forward pass", "Tap another module.")


def find_tap(backbone: nn.Module, tap: str) -> nn.Module:
    """The module called `tap`; raises UsageError with the possible taps."""
    modules = dict(backbone.named_modules(remove_duplicate=False))
    if not tap or tap not in modules:
        raise UsageError(f"unknown tap {tap!r}", f"Possible taps: {', '.join(candidate_taps(backbone))}.")
    module: nn.Module = modules[tap]
    return module


def first_tensor(output: Any) -> Tensor | None:
    """What an exit reads of a module's output: the tensor of floats that it is, or that comes first in it."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


def candidate_taps(backbone: nn.Module) -> tuple[str, ...]:
    """Names of the blocks a backbone is stacked from: the items of its outermost Sequentials and ModuleLists."""
    return tuple(name for name, level in stack_levels(backbone).items() if level == 0)


def stack_levels(backbone: nn.Module) -> dict[str, int]:
    """Every module inside by name: 0 for items of the outermost stacks, 1 for those of stacks inside them, else 2."""
    modules = dict(backbone.named_modules(remove_duplicate=False))
    levels: dict[str, int] = {}
    inside: dict[str, bool] = {"": False}  # whether an item of a stack is this module or above it
    for name, module in modules.items():
        if name:
            parent = name.rpartition(".")[0]
            item = isinstance(modules[parent], _STACKS) and not isinstance(module, _STACKS)
            levels[name] = (1 if inside[parent] else 0) if item else 2
            inside[name] = inside[parent] or item
    return levels
