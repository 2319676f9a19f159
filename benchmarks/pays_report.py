"""What `early_exit_pays.py` found, as Markdown: for every arm what was claimed, what was measured, and the tables."""

from collections.abc import Callable, Sequence
from typing import Any

_INTRO = (
    "Accuracy is against labels on {n:,} test images. A drop is against full depth, on the same images, with its 95 % "
    "interval. Latency is the mean over these images by the wall clock, batch 1, one thread, all contenders in one "
    "process, interleaved; every rejected exit is charged. Times were taken on: {machine}."
)


def report(data: str, found: dict[str, Any]) -> str:
    """The Markdown text; arms that were not run are left out."""
    parts = [f"## {data}", "", _INTRO.format(**_where(found)), ""]
    for arm, (title, render) in _ARMS.items():
        if arm in found:
            parts += [f"### {title}", "", *render(found[arm]), ""]
    return "\n".join(parts).rstrip() + "\n"


def _where(found: dict[str, Any]) -> dict[str, Any]:
    """Of the first race that there is."""
    races = [arm for arm in found.values() if "points" in arm] + [
        race for name in ("frozen", "in-front", "own-in-front") for race in found.get(name, {}).values()
    ]
    return {"n": races[0]["n"], "machine": races[0]["machine"]} if races else {"n": 0, "machine": "nothing yet"}


def _race(race: dict[str, Any]) -> list[str]:
    unsplit = race["points"][0]["mean_ms"]
    rows = [
        (
            point["name"],
            f"{100 * point['accuracy']:.2f}",
            _drop(point.get("drop_points")),
            f"{point['mean_ms']:.3f}",
            f"{point['mean_ms'] / unsplit:.2f}",
            " / ".join(f"{share:.0%}" for share in point["exit_shares"] or ()),
        )
        for point in race["points"]
    ]
    headings = ("net", "accuracy %", "drop (95 %)", "mean ms", "/ unsplit", "left at each exit")
    return [*_table(headings, rows), "", f"The verdict of `eetool bench`: {race['verdict']}"]


def _races(arm: dict[str, Any]) -> list[str]:
    return [line for name, race in arm.items() for line in (f"{name}:", "", *_race(race), "")][:-1]


def _dominances(arm: dict[str, Any]) -> list[str]:
    return [line for name, race in arm.items() for line in (f"{name}:", "", *_dominance(race), "")][:-1]


def _dominance(race: dict[str, Any]) -> list[str]:
    """For every static net: the fastest operating point that is at least as accurate, and how it compares."""
    points = [point for point in race["points"][1:] if point["exit_shares"]]
    static = [point for point in race["points"] if not point["exit_shares"]]
    rows = []
    for net in static[1:]:
        good = [point for point in points if point["accuracy"] >= net["accuracy"]]
        best = min(good, key=lambda point: float(point["mean_ms"]), default=None)
        name, ratio = (best["name"], f"{best['mean_ms'] / net['mean_ms']:.2f}") if best else ("none", "–")
        rows.append((net["name"], f"{100 * net['accuracy']:.2f}", f"{net['mean_ms']:.3f}", name, ratio))
    won = sum(row[-1] != "–" and float(row[-1]) < 1 for row in rows)
    headings = ("static net", "accuracy %", "mean ms", "fastest point as accurate", "its latency / the net's")
    return [*_table(headings, rows), "", f"It dominates {won} of {len(rows)}.", "", *_race(race)]


def _confidence(arm: dict[str, Any]) -> list[str]:
    rows = [
        (name, score, f"{target} %", f"{at['agreement']:.2f} %", f"{at['mean_macs_over_backbone']:.3f}")
        for name, found in arm.items()
        for score, targets in found["agreement"].items()
        for target, at in targets.items()
    ]
    headings = ("backbone", "gates go by", "agreement fitted for", "agreement on new images", "mean MACs / backbone")
    parts = [*_table(headings, rows), ""]
    for name, found in arm.items():
        parts += [f"By labels and the clock, {name}:", "", *_race(found["learned"]), ""]
    return parts[:-1]


def _strength(arm: dict[str, Any]) -> list[str]:
    """Mean and range over the seeds, at every operating point."""
    rows = []
    for kind, races in arm.items():
        for index, point in enumerate(races[0]["points"]):
            same = [race["points"][index] for race in races]
            accuracies = [100 * p["accuracy"] for p in same]
            times = [p["mean_ms"] for p in same]
            spread = f"{min(accuracies):.2f}–{max(accuracies):.2f}"
            rows.append((kind, point["name"], f"{_mean(accuracies):.2f}", spread, f"{_mean(times):.3f}"))
    return _table(("branches", "point", "accuracy %", "over the seeds", "mean ms"), rows)


def _certificates(arm: dict[str, Any]) -> list[str]:
    rows = []
    for promise, found in arm["promises"].items():
        price, certified = found["cost_certified_over_uncertified"], found["certified"]
        rows.append(
            (
                f"{promise} points",
                f"{found['broken_share']:.1%}",
                f"{found['refused_share']:.1%}",
                "–" if certified is None else f"{certified['mean_drop_points']:.2f}",
                "–" if price is None else f"{price:.2f}",
                f"{found['uncertified_broken_share']:.1%}",
            )
        )
    sizes = ", ".join(f"{size:,} {name}" for name, size in arm["sizes"].items())
    headings = ("promise", "broken", "refused", "mean drop", "cost / uncertified", "uncertified choice breaks it")
    told = f"{arm['splits']} random splits of {arm['held_out']:,} held-out images: {sizes}; the rest is looked at."
    allowed = f"At confidence {arm['confidence']} at most {1 - arm['confidence']:.0%} may be broken."
    return [f"{told} {allowed}", "", *_table(headings, rows)]


def _drop(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.2f} ({interval[1]:.2f} to {interval[2]:.2f})"


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


_ARMS: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "dominates": ("A network made for exits against the static family", _dominance),
    "in-front": ("Small networks in front of ResNet-56", _dominances),
    "own-in-front": ("Networks of an architecture in front of others, against their family", _dominances),
    "own-family": ("The same network against static ones of its own architecture", _dominance),
    "frozen": ("Exits on a backbone that stays as it is", _races),
    "confidence": ("Learned confidences (PTEENet)", _confidence),
    "branch-strength": ("Strong branches against linear ones, equal budget, several seeds", _strength),
    "certificates": ("Certificates", _certificates),
}
