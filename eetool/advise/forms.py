"""Forms that a trained network can be shipped in: exits inside it, a cascade of sizes, a smaller size, or as it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from eetool.advise.document import (
    ALONE,
    EXITS,
    SIZES,
    UNSPLIT,
    AdviceVerdict,
    CheapestForm,
    NextSteps,
    PointForecast,
    RivalForecast,
    SizeForecast,
    SizesForecast,
)
from eetool.advise.forecast import decide
from eetool.advise.next_commands import CommandContext, alone_steps, size_steps
from eetool.advise.sizes import JudgedSizes, described
from eetool.data.image_form import split_size
from eetool.data.source_names import FOLDER
from eetool.model.spec import ModelSpec
from eetool_runtime.manifest import CROP

_ROUNDING = 1e-9


@dataclass(frozen=True)
class FormsAdvice:
    """Verdict, commands, and the forecast of smaller sizes where there is one."""

    verdict: AdviceVerdict
    next: tuple[NextSteps, ...]
    sizes: SizesForecast | None = None


def add_sizes(
    inside: FormsAdvice,
    judged: JudgedSizes,
    points: Sequence[PointForecast],
    rivals: Sequence[RivalForecast],
    held_out_examples: int,
    unknown: Sequence[str],
    context: CommandContext,
    spec: ModelSpec,
) -> FormsAdvice:
    """Return the advice on exits inside the network together with that on smaller sizes.

    Args:
        inside: advice on exits inside the network.
        judged: forecasts of smaller sizes.
        points: operating points of the exits inside.
        rivals: static networks.
        held_out_examples: number of examples behind the forecasts.
        unknown: what forbids a firm verdict.
        context: arguments of commands.
        spec: the network at the full size.
    """
    drop = context.max_accuracy_drop
    words = f", as {described(judged.cascade)}"
    of_sizes = decide(judged.points, rivals, drop, held_out_examples, unknown, judged.alone, SIZES, words)
    cheapest = cheapest_form(points, judged.points, judged.cascade, judged.alone, drop)
    own = _context_of_sizes(context, spec)
    steps = [*inside.next, size_steps(own, judged.cascade)]
    if cheapest.form == ALONE:
        steps.append(alone_steps(own, cheapest.sizes[0], judged.full))
    sizes = SizesForecast(judged.full, judged.alone, judged.cascade, judged.points, judged.front, cheapest)
    return FormsAdvice(better_verdict(inside.verdict, of_sizes, cheapest), in_order(steps, cheapest), sizes)


def _context_of_sizes(context: CommandContext, spec: ModelSpec) -> CommandContext:
    """Return the context with the folder alone, whose size is another one for each network."""
    item = spec.inputs[0]
    assert item.preprocess is not None
    assert item.preprocess.resize is not None
    shape = "x".join(str(size) for size in item.shape[1:])
    folder, _ = split_size(context.data.removeprefix(f"{FOLDER}:"))
    fit = item.preprocess.resize.fit
    return replace(
        context, data=f"{FOLDER}:{folder}", size=("--input", shape, *(() if fit == CROP else ("--fit", fit)))
    )


def cheapest_form(
    inside: Sequence[PointForecast],
    of_sizes: Sequence[PointForecast],
    cascade: tuple[int, ...],
    alone: Sequence[SizeForecast],
    max_accuracy_drop: float,
) -> CheapestForm:
    """Return the cheapest form whose expected accuracy keeps the drop; `unsplit` keeps it at a ratio of 1.

    Args:
        inside: operating points of exits inside the network.
        of_sizes: operating points of the cascade of sizes.
        cascade: sizes of that cascade, the full one last.
        alone: the network at smaller sizes.
        max_accuracy_drop: percentage points.
    """
    full = cascade[-1:]
    forms = [CheapestForm(UNSPLIT, full, 0.0, 1.0)]
    forms += [CheapestForm(EXITS, full, p.accuracy_difference, p.ratio) for p in inside]
    forms += [CheapestForm(SIZES, cascade, p.accuracy_difference, p.ratio) for p in of_sizes]
    forms += [
        CheapestForm(ALONE, (one.size,), one.accuracy_difference, one.ratio)
        for one in alone
        if one.ratio is not None and one.accuracy_difference is not None
    ]
    kept = [form for form in forms if -form.accuracy_difference <= max_accuracy_drop + _ROUNDING]
    return min(kept, key=lambda form: form.ratio)


def better_verdict(inside: AdviceVerdict, of_sizes: AdviceVerdict, cheapest: CheapestForm) -> AdviceVerdict:
    """Return the verdict to lead with: one that pays, else one that is open; of two such that of the cheaper form."""
    order = {True: 0, None: 1, False: 2}
    verdicts = sorted((inside, of_sizes), key=lambda v: (order[v.pays], v.form != cheapest.form))
    return verdicts[0]


def in_order(steps: Sequence[NextSteps], cheapest: CheapestForm) -> tuple[NextSteps, ...]:
    """Return the steps with those to the cheapest form first."""
    return tuple(sorted(steps, key=lambda step: step.recipe != cheapest.form))
