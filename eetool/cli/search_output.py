"""Result of `eetool search`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import milliseconds, percent, shares
from eetool.cli.output import CommandResult, table
from eetool.wording import counted

if TYPE_CHECKING:
    from eetool.search.search_results import Front


def search_result(front: "Front", evaluated: int, asked: int, following: Sequence[str] = ()) -> CommandResult:
    """Return the front of a search that evaluated `evaluated` of the `asked` candidates; `following` lines end it."""
    marks = {front.knee: " knee"}
    if front.cheapest is not None:
        marks[front.cheapest] = f"{marks.get(front.cheapest, '')} cheapest"
    sized = any(c.size is not None for c in front.front)
    rows = [
        (
            f"{c.id}{marks.get(c.id, '')}",
            *((str(c.size or "–"),) if sized else ()),
            percent(c.figures.accuracy, 2),
            f"{c.figures.macs / 1e6:.2f}",
            milliseconds(c.figures.latency_ms),
            milliseconds(c.figures.energy_mj),
            f"{c.figures.parameters / 1e6:.2f}",
            shares(c.figures.exit_shares),
        )
        for c in front.front
    ]
    right = (*(("px",) if sized else ()), "acc %", "MACs (M)", "ms", "mJ", "weights (M)", "exits %")
    knee = next(c for c in front.front if c.id == front.knee)
    where = f"predicted for {front.device}, " if front.device else ""
    text: list[Any] = [
        f"{counted(front.evaluated, 'candidate')} of {front.space.name}, {front.feasible} within the "
        f"limits; the front:",
        table({"id": "left", **dict.fromkeys(right, "right")}, rows),
        f"branches at the knee: {' '.join(knee.branches) or 'none'}",
        f"{where}means over {counted(front.front[0].figures.n, 'example')} that were used for no weight or threshold",
        *(f"warning: {warning}" for warning in front.warnings),
        *(
            [f"the space and the limits admit no more than {counted(evaluated, 'network')} that were found"]
            if evaluated < asked
            else []
        ),
        *following,
    ]
    return CommandResult("search/1", vars(front), text)
