"""Commands that an advice ends with, complete and in the order in which they are typed."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eetool.advise.document import NextSteps
from eetool.advise.trial_exits import TrialExit

FROZEN, DISTILL, SMALLER = "frozen", "distill", "smaller"
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


def _exit_options(exits: Sequence[TrialExit]) -> tuple[str, ...]:
    branches = tuple(word for e in exits for word in ("--branch", e.branch))
    return ("--at", ",".join(e.tap for e in exits), *branches)


def _pipeline(context: CommandContext, name: str, exits: Sequence[str], recipe: Sequence[str]) -> tuple[str, ...]:
    named = () if context.named is None else ("--model", context.named)
    device = () if context.device is None else ("--device", context.device)
    data, bundle = ("--data", context.data), f"{name}.eebundle"
    rivals = tuple(word for rival in context.against for word in ("--against", str(rival)))
    lines: list[Sequence[str]] = [
        (
            *("train", context.model, *context.weights, *data, *context.size, *_hold_out(context), *exits, *recipe),
            *("-o", f"{name}.pt"),
        ),
        (
            *("tune", f"{name}.pt", *data, *named, "--max-accuracy-drop", f"{context.max_accuracy_drop:g}"),
            *(*device, "-o", f"{name}-tuned.pt"),
        ),
        ("export", f"{name}-tuned.pt", *named, "-o", bundle),
        ("bench", bundle, *data, *rivals),
    ]
    if context.device is not None:
        lines.append(("estimate", bundle, *device, *((*data, *rivals) if rivals else ())))
    return tuple(shlex.join(("eetool", *line)) for line in lines)


def _hold_out(context: CommandContext) -> tuple[str, ...]:
    return () if context.hold_out == "train" else ("--hold-out", context.hold_out)


def _smaller(context: CommandContext, network: str, compared: str) -> tuple[str, ...]:
    data = ("--data", context.data)
    return tuple(
        shlex.join(("eetool", *line))
        for line in (
            ("train", network, *data, *context.size, *_hold_out(context), "--exits", "0", "-o", "small.pt"),
            ("export", "small.pt", "-o", "small.eebundle"),
            ("bench", f"{compared}.eebundle", *data, "--against", "small.eebundle"),
        )
    )
