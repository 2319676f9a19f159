"""`eetool.attach_exits`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from eetool.api.arguments import as_progress, as_strings, check_number
from eetool.api.python_errors import python_errors
from eetool.errors import UsageError
from eetool.progress import Progress
from eetool.wording import counted

if TYPE_CHECKING:
    from torch import nn

    from eetool.model.early_exit import EarlyExitNet
    from eetool.train.exit_plan import ExitPlan
    from eetool.train.module_example import Example

_OWN = "own"


def attach_exits(
    module: "nn.Module | str",
    example: "Example",
    *,
    exits: int | Literal["own"] | None = None,
    at: Sequence[str] = (),
    branch: str | Sequence[str] | None = None,
    layout: str | Sequence[str] = (),
    logits: str | Sequence[str] = (),
    cascade: bool = False,
    freeze_backbone: bool = False,
    classes: int | None = None,
    reference: str | Callable[..., Any] | None = None,
    progress: Progress | None = None,
) -> "EarlyExitNet":
    """Attach early exits to a network, and return a plain `torch.nn.Module` to train in a loop of your own.

    The module maps its inputs to a tuple with the logits (N, classes) of every exit, the final exit last. It holds
    `module` itself as `backbone`, not a copy, with its weights, mode and torch device.

    >>> net = eetool.attach_exits(MyNet(), images, exits=2)
    >>> loss = eetool.joint_loss(net(images), labels)

    A saved model names the code of its network and never holds it. So the network is built once more by that code,
    here and now, and both must give the same logits: an error comes before the training and not after it.

    Args:
        module: the network, or the name of one that eetool or a library builds, such as `resnet20`.
        example: a batch of its inputs (N, …), such as `next(iter(loader))[0]`; `{name: tensor}` for several inputs.
        exits: number of early exits, placed at equal shares of the MACs, 2 by default; or `own`: the outputs of a
            network that has exits already.
        at: attach the exits to these modules instead, by dotted name.
        branch: layers of every exit: `linear`, `cls` or such as `max2,conv3-64`; or one for each, from shallow to deep.
        layout: order of the axes of the features at every tap, such as `NHWC`, where the network does not show it.
        logits: output of the network that holds its class logits, where it returns more than one; with own exits all.
        cascade: every exit reads the logits of the one before.
        freeze_backbone: only the exits learn; `net.train()` leaves the backbone in evaluation mode.
        classes: number of classes, by default the width of the logits.
        reference: code that builds the network: a function without arguments, or its name, `package.module:factory` or
            `package.module:factory(width=8)`; by default the class of `module`, called without arguments.
        progress: receives notes, such as on weights that get no gradient.

    Raises:
        eetool.errors.UsageError: the exits do not fit; the module is wrapped by DataParallel or compiled by torch.jit;
            or no command would find its code, as that of a notebook.
        eetool.errors.ArtefactError: the network's own code fails.

    Warns:
        UserWarning: commands find its code only in the folder of the program that runs.
    """
    with python_errors():
        check_number("classes", classes, 2)
        plan = exit_plan(exits, as_strings("at", at), branch, layout, logits, cascade)
        from eetool.train.attached_module import attach_to_module, build_by_name

        if isinstance(module, str):
            if reference is not None:
                raise UsageError("a name is its own reference", "Leave reference out.")
            module, reference = build_by_name(module, example, classes, plan), module
        watched = as_progress(progress)
        return attach_to_module(module, example, plan, reference, classes, freeze_backbone, watched)


def exit_plan(
    exits: int | str | None,
    at: tuple[str, ...],
    branch: str | Sequence[str] | None,
    layout: str | Sequence[str],
    logits: str | Sequence[str],
    cascade: bool,
    ensemble: bool = False,
) -> "ExitPlan":
    """Return the plan of the exits; raises UsageError where arguments contradict each other."""
    from eetool.model.references.output_choice import OutputChoice
    from eetool.train.exit_plan import ExitPlan

    own = exits == _OWN
    if not own and exits is not None and (isinstance(exits, (bool, str)) or not isinstance(exits, int) or exits < 0):
        raise UsageError(f"exits is {exits!r}", "Give exits=2, another number, or exits='own'.")
    if at and not own and exits not in (None, len(at)):
        raise UsageError(f"exits={exits} contradicts at= with {counted(len(at), 'tap')}", "Give one of them.")
    branches = as_strings("branch", branch) if branch is not None else None
    given = branches[0] if branches is not None and len(branches) == 1 else branches
    count = 0 if own else len(at) or (2 if exits is None else int(exits))
    choice = OutputChoice(as_strings("logits", logits), own)
    return ExitPlan(count, given, at, cascade, ensemble, as_strings("layout", layout), choice)
