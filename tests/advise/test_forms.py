"""The cheapest form that keeps the drop, and the verdict that an advice leads with."""

from dataclasses import replace

from eetool.advise.document import AdviceVerdict, NextSteps, PointForecast, SizeForecast
from eetool.advise.forms import better_verdict, cheapest_form, in_order

POINT = PointForecast("fast", 1.0, 0.9, -0.5, (-0.9, 0.1), 7.0, 0.7, (0.6, 0.8), (0.6, 0.4), 0.7)
ALONE = SizeForecast(160, "own", 0.895, -0.8, (-1.4, -0.2), 5.0, 0.5, (0.4, 0.6))


def test_cheapest_form_is_the_cheapest_that_keeps_the_drop() -> None:
    of_sizes = replace(POINT, ratio=0.6)
    found = cheapest_form([POINT], [of_sizes], (128, 224), [ALONE, SizeForecast(64, reason="too small")], 1.0)
    assert (found.form, found.sizes, found.ratio) == ("alone", (160,), 0.5)
    found = cheapest_form([POINT], [of_sizes], (128, 224), [ALONE], 0.6)
    assert (found.form, found.sizes, found.accuracy_difference) == ("sizes", (128, 224), -0.5)
    assert cheapest_form([POINT], [replace(POINT, ratio=0.8)], (128, 224), [], 0.6).form == "exits"
    assert cheapest_form([POINT], [POINT], (128, 224), [ALONE], 0.1).form == "unsplit"


def test_better_verdict_pays_before_it_is_open_and_is_of_the_cheaper_form() -> None:
    cheapest = cheapest_form([POINT], [replace(POINT, ratio=0.6)], (128, 224), [], 1.0)
    inside, of_sizes = AdviceVerdict(True, "fast", "inside"), AdviceVerdict(True, "fast", "sizes", "sizes")
    assert better_verdict(inside, of_sizes, cheapest) is of_sizes
    assert better_verdict(inside, replace(of_sizes, pays=None), cheapest) is inside
    open_ = replace(inside, pays=None)
    assert better_verdict(open_, replace(of_sizes, pays=False), cheapest) is open_


def test_in_order_begins_with_the_steps_to_the_cheapest_form() -> None:
    cheapest = cheapest_form([POINT], [replace(POINT, ratio=0.6)], (128, 224), [], 1.0)
    steps = [NextSteps(recipe, "reason", ("x",)) for recipe in ("frozen", "distill", "sizes")]
    assert [step.recipe for step in in_order(steps, cheapest)] == ["sizes", "frozen", "distill"]
