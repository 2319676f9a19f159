"""Commands that an advice ends with, complete and in the order in which they are typed."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eetool.advise.document import NextSteps
from eetool.advise.trial_exits import TrialExit

FROZEN, DISTILL, SMALLER, CASCADE, ALONE = "frozen", "distill", "smaller", "sizes", "alone"
_WARM_RATE = "0.02"  # a trained backbone forgets with the rate of fresh weights


@dataclass(frozen=True)
class CommandContext:
    """Arguments that the commands share.

    Attributes:
        model: MODEL of `eetool train`.
        weights: options that give its weights and normalisation.
        size: options that bring images of a folder to its size.
        data: the data source.
        hold_out: value of `--hold-out`.
        device: name or file of the device; null without one.
        against: static rivals.
        max_accuracy_drop: percentage points.
        named: factory that later commands may call; null for other networks.
    """

    model: str
    weights: tuple[str, ...]
    size: tuple[str, ...]
    data: str
    hold_out: str
    device: str | None
    against: tuple[Path, ...]
    max_accuracy_drop: float
    named: str | None


def next_steps(
    context: CommandContext, exits: Sequence[TrialExit], pays: bool | None, small_network: str | None
) -> tuple[NextSteps, ...]:
    """Return what to type next, the best first; `small_network` is one with fewer MACs, if there is one."""
    frozen = NextSteps(
        FROZEN,
        "The backbone and its accuracy stay; only the exits are trained, on features that are computed once.",
        _pipeline(context, "early_exit", _exit_options(exits), ("--recipe", "frozen")),
    )
    joint = ("--recipe", "distill", "--learning-rate", _WARM_RATE)
    distill = NextSteps(
        DISTILL,
        "Backbone and exits are trained together from the given weights: better exits, for a whole training.",
        _pipeline(context, "joint", _exit_options(exits), joint),
    )
    others = []
    if small_network is not None:
        smaller = NextSteps(
            SMALLER,
            "A smaller network without exits: where it is as accurate and as fast, it is the better choice.",
            _smaller(context, small_network, "joint" if pays is False else "early_exit"),
        )
        others.append(smaller)
    return (distill, *others, frozen) if pays is False else (frozen, distill, *others)


def size_steps(context: CommandContext, sizes: Sequence[int]) -> NextSteps:
    """Return how to make a cascade of these sizes, the full one last; `context.size` is for one of them."""
    names = [f"px{size}.pt" for size in sizes]
    trained = [_train_at(context, size, name, keep=size == sizes[-1]) for size, name in zip(sizes, names, strict=True)]
    joined = ("cascade", *names, "--data", context.data, *_named(context), "-o", "sizes.pt")
    return NextSteps(
        CASCADE,
        "The same network at each size, one after another: those in front are trained on from the given weights.",
        _commands([*trained, joined, *_tuned(context, "sizes")]),
    )


def alone_steps(context: CommandContext, size: int, full: int) -> NextSteps:
    """Return how to train the network at a smaller size, and to compare it with itself at the full one."""
    small, whole = f"px{size}", f"px{full}"
    lines = [
        _train_at(context, size, f"{small}.pt", keep=False),
        ("export", f"{small}.pt", *_named(context), "-o", f"{small}.eebundle"),
        _train_at(context, full, f"{whole}.pt", keep=True),
        ("export", f"{whole}.pt", *_named(context), "-o", f"{whole}.eebundle"),
        ("bench", f"{whole}.eebundle", "--data", context.data, "--against", f"{small}.eebundle"),
    ]
    return NextSteps(ALONE, "The network at a smaller size, trained on from the given weights.", _commands(lines))


def _train_at(context: CommandContext, size: int, output: str, keep: bool) -> tuple[str, ...]:
    """Return the training at a size; `keep` leaves the weights as they are."""
    _, shape, *fit = context.size
    channels = shape.partition("x")[0]
    resized = ("--input", f"{channels}x{size}x{size}", *fit)
    data = ("--data", context.data, *resized, *_hold_out(context))
    kept = ("--epochs", "0") if keep else ()
    return ("train", context.model, *context.weights, *data, "--exits", "0", *kept, "-o", output)


def _exit_options(exits: Sequence[TrialExit]) -> tuple[str, ...]:
    branches = tuple(word for e in exits for word in ("--branch", e.branch))
    return ("--at", ",".join(e.tap for e in exits), *branches)


def _pipeline(context: CommandContext, name: str, exits: Sequence[str], recipe: Sequence[str]) -> tuple[str, ...]:
    data = ("--data", context.data)
    train = (
        *("train", context.model, *context.weights, *data, *context.size, *_hold_out(context), *exits, *recipe),
        *("-o", f"{name}.pt"),
    )
    return _commands([train, *_tuned(context, name)])


def _tuned(context: CommandContext, name: str) -> list[Sequence[str]]:
    """Return the commands behind NAME.pt: tune, export, bench, and estimate where there is a device."""
    device = () if context.device is None else ("--device", context.device)
    data, bundle = ("--data", context.data), f"{name}.eebundle"
    rivals = tuple(word for rival in context.against for word in ("--against", str(rival)))
    lines: list[Sequence[str]] = [
        (
            *("tune", f"{name}.pt", *data, *_named(context), "--max-accuracy-drop", f"{context.max_accuracy_drop:g}"),
            *(*device, "-o", f"{name}-tuned.pt"),
        ),
        ("export", f"{name}-tuned.pt", *_named(context), "-o", bundle),
        ("bench", bundle, *data, *rivals),
    ]
    if context.device is not None:
        lines.append(("estimate", bundle, *device, *((*data, *rivals) if rivals else ())))
    return lines


def _commands(lines: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(shlex.join(("eetool", *line)) for line in lines)


def _named(context: CommandContext) -> tuple[str, ...]:
    return () if context.named is None else ("--model", context.named)


def _hold_out(context: CommandContext) -> tuple[str, ...]:
    return () if context.hold_out == "train" else ("--hold-out", context.hold_out)


def _smaller(context: CommandContext, network: str, compared: str) -> tuple[str, ...]:
    data = ("--data", context.data)
    return _commands(
        [
            ("train", network, *data, *context.size, *_hold_out(context), "--exits", "0", "-o", "small.pt"),
            ("export", "small.pt", "-o", "small.eebundle"),
            ("bench", f"{compared}.eebundle", *data, "--against", "small.eebundle"),
        ]
    )
