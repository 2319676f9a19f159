"""EarlyExitNet: any module, with exits attached to named modules inside it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from eetool.errors import UsageError


class EarlyExitNet(nn.Module):
    """A backbone whose module outputs at `taps` feed exits.

    Args:
        backbone: any module that maps its inputs to logits (N, classes).
        exits: tap (a dotted module name) to the exit there, from shallow to deep.
    """

    def __init__(self, backbone: nn.Module, exits: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.taps = tuple(exits)
        self.exits = nn.ModuleList(exits.values())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, classes) of every exit, the final one last. Nothing is skipped: this is for training."""
        with captured(self.backbone, self.taps) as features:
            final = self.backbone(*inputs)
        return (*(head(features[tap]) for tap, head in zip(self.taps, self.exits, strict=True)), final)


@contextmanager
def captured(backbone: nn.Module, taps: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what the modules named `taps` return while the backbone runs inside the block.

    Raises:
        UsageError: a tap does not exist, returns something else than one tensor of floats, or runs more than once.
    """
    features: dict[str, Tensor] = {}

    def hook_for(tap: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if tap in features:
                raise UsageError(f"tap {tap!r} runs more than once in one forward pass", "Tap a module that runs once.")
            if not isinstance(output, Tensor) or not output.is_floating_point():
                found = output.dtype if isinstance(output, Tensor) else type(output).__name__
                raise UsageError(f"tap {tap!r} returns {found}, not one tensor of floats", "Tap another module.")
            features[tap] = output

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


def candidate_taps(backbone: nn.Module) -> tuple[str, ...]:
    """Names of the blocks a backbone is stacked from: the items of its outermost Sequentials and ModuleLists."""
    names: list[str] = []

    def visit(module: nn.Module, path: str, stacked: bool) -> None:
        stack = isinstance(module, (nn.Sequential, nn.ModuleList))
        if stacked and not stack:
            names.append(path)
            return
        for name, child in module.named_children():
            visit(child, f"{path}.{name}" if path else name, stack)

    visit(backbone, "", False)
    return tuple(names)
