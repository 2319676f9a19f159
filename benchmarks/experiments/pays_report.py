"""Results of `early_exit_pays.py` as Markdown: one section with a table for every arm."""

from collections.abc import Callable, Sequence
from typing import Any

_INTRO = (
    "Accuracy is against labels on {n:,} test images. A drop is against full depth, on the same images, with its 95 % "
    "interval. Latency is the mean over these images by the wall clock, batch 1, one thread, all models in one "
    "process, interleaved; every rejected exit is charged. Times were taken on: {machine}."
)


def report(data: str, results: dict[str, Any]) -> str:
    """Return the Markdown text; arms without results are left out."""
    parts = [f"## {data}", "", _INTRO.format(**_machine_of(results)), ""]
    for arm, (title, render) in _ARMS.items():
        if arm in results:
            parts += [f"### {title}", "", *render(results[arm]), ""]
    return "\n".join(parts).rstrip() + "\n"


def _machine_of(results: dict[str, Any]) -> dict[str, Any]:
    """Return image count and machine of the first benchmark."""
    benches = [arm for arm in results.values() if "points" in arm] + [
        bench for name in ("frozen", "searched", "in-front", "own-in-front") for bench in results.get(name, {}).values()
    ]
    return {"n": benches[0]["n"], "machine": benches[0]["machine"]} if benches else {"n": 0, "machine": "not measured"}


def _bench_table(bench: dict[str, Any]) -> list[str]:
    unsplit = bench["points"][0]["mean_ms"]
    rows = [
        (
            point["name"],
            f"{100 * point['accuracy']:.2f}",
            _drop(point.get("drop_points")),
            f"{point['mean_ms']:.3f}",
            f"{point['mean_ms'] / unsplit:.2f}",
            " / ".join(f"{share:.0%}" for share in point["exit_shares"] or ()),
        )
        for point in bench["points"]
    ]
    headings = ("net", "accuracy %", "drop (95 %)", "mean ms", "/ unsplit", "left at each exit")
    return [*_table(headings, rows), "", f"The verdict of `eetool bench`: {bench['verdict']}"]


def _bench_tables(arm: dict[str, Any]) -> list[str]:
    return [line for name, bench in arm.items() for line in (f"{name}:", "", *_bench_table(bench), "")][:-1]


def _dominances(arm: dict[str, Any]) -> list[str]:
    return [line for name, bench in arm.items() for line in (f"{name}:", "", *_dominance(bench), "")][:-1]


def _dominance(bench: dict[str, Any]) -> list[str]:
    """Compare every static network with the fastest operating point that is at least as accurate."""
    points = [point for point in bench["points"][1:] if point["exit_shares"]]
    static = [point for point in bench["points"] if not point["exit_shares"]]
    rows = []
    for net in static[1:]:
        good = [point for point in points if point["accuracy"] >= net["accuracy"]]
        best = min(good, key=lambda point: float(point["mean_ms"]), default=None)
        name, ratio = (best["name"], f"{best['mean_ms'] / net['mean_ms']:.2f}") if best else ("none", "–")
        rows.append((net["name"], f"{100 * net['accuracy']:.2f}", f"{net['mean_ms']:.3f}", name, ratio))
    won = sum(row[-1] != "–" and float(row[-1]) < 1 for row in rows)
    headings = ("static net", "accuracy %", "mean ms", "fastest point as accurate", "its latency / the net's")
    return [*_table(headings, rows), "", f"It dominates {won} of {len(rows)}.", "", *_bench_table(bench)]


def _confidence(arm: dict[str, Any]) -> list[str]:
    rows = [
        (name, score, f"{target} %", f"{at['agreement']:.2f} %", f"{at['mean_macs_over_backbone']:.3f}")
        for name, results in arm.items()
        for score, targets in results["agreement"].items()
        for target, at in targets.items()
    ]
    headings = ("backbone", "gate score", "agreement fitted for", "agreement on new images", "mean MACs / backbone")
    parts = [*_table(headings, rows), ""]
    for name, results in arm.items():
        parts += [f"By labels and the clock, {name}:", "", *_bench_table(results["learned"]), ""]
    return parts[:-1]


def _strength(arm: dict[str, Any]) -> list[str]:
    """Return mean and range over the seeds at every operating point."""
    rows = []
    for kind, benches in arm.items():
        for index, point in enumerate(benches[0]["points"]):
            same = [bench["points"][index] for bench in benches]
            accuracies = [100 * p["accuracy"] for p in same]
            times = [p["mean_ms"] for p in same]
            spread = f"{min(accuracies):.2f}–{max(accuracies):.2f}"
            rows.append((kind, point["name"], f"{_mean(accuracies):.2f}", spread, f"{_mean(times):.3f}"))
    return _table(("branches", "point", "accuracy %", "over the seeds", "mean ms"), rows)


def _certificates(arm: dict[str, Any]) -> list[str]:
    rows = []
    for promise, results in arm["promises"].items():
        price, certified = results["cost_certified_over_uncertified"], results["certified"]
        rows.append(
            (
                f"{promise} points",
                f"{results['broken_share']:.1%}",
                f"{results['refused_share']:.1%}",
                "–" if certified is None else f"{certified['mean_drop_points']:.2f}",
                "–" if price is None else f"{price:.2f}",
                f"{results['uncertified_broken_share']:.1%}",
            )
        )
    sizes = ", ".join(f"{size:,} {name}" for name, size in arm["sizes"].items())
    headings = ("promise", "broken", "refused", "mean drop", "cost / uncertified", "uncertified choice breaks it")
    splits = f"{arm['splits']} random splits of {arm['held_out']:,} held-out images: {sizes}."
    population = "The true drop is that on all of them."
    allowed = f"At confidence {arm['confidence']} at most {1 - arm['confidence']:.0%} may be broken."
    return [f"{splits} {population} {allowed}", "", *_table(headings, rows)]


def _drop(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.2f} ({interval[1]:.2f} to {interval[2]:.2f})"


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


_ARMS: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "dominates": ("A network designed for exits against the static family", _dominance),
    "in-front": ("Cascades that end in ResNet-56", _dominances),
    "own-in-front": ("Cascades of networks of one family, against that family", _dominances),
    "own-family": ("The same network against static ones of its architecture", _dominance),
    "frozen": ("Exits on a frozen backbone", _bench_tables),
    "searched": ("Searched exits on a frozen backbone", _bench_tables),
    "confidence": ("Learned confidences (PTEENet)", _confidence),
    "branch-strength": ("Strong branches against linear ones, equal budget, several seeds", _strength),
    "certificates": ("Certificates", _certificates),
}
