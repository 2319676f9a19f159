"""Streams answered with what the last frames showed: on sensors of eight persons, and on synthetic streams.

    python benchmarks/streams.py DATA --out DIR [--speech FILE] [--cifar DIR] [--prepare | --time-again] [--tables FILE]

DATA is the smartwatch's archive: samples, length, label, subject and classes of 112 recordings of seven exercises.
Subjects are left out in four folds of two, see `stream_subjects.py`. --speech are spoken digits (log-mel features),
--cifar the folder of CIFAR-10; both become synthetic streams of runs of one class.

Each kind of policy is chosen for the least MACs within the same limits: an accuracy not below full depth with an answer
per frame, and a reaction (95 % of the changes). Everything lies in DIR and is not made again, and an interrupted
training goes on. --prepare does all but the timing, on any machine; without it, latencies are the clock's, all ways
interleaved every few frames: run that on a quiet machine. --time-again repeats the timing alone. Prints one JSON
document, also written to DIR/results.json.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from stream_cases import Case
from stream_choice import Choice, as_data, choose, cut_networks, describe, from_data, in_hindsight, simulated
from stream_clock import clocked
from stream_context import ROUNDS, context_results, learn_context
from stream_subjects import RECIPES, Subjects
from stream_synthetic import cifar_case, digit_case
from stream_tables import tables

from eetool.records import write_atomic
from eetool.tune.stream_rivals import FILTER
from eetool_runtime.manifest import StreamPolicy

GOAL_RATIO, GOAL_REACTION_S = 0.35, 6.0
LOSSY_POINTS = 1.0  # lost at most by policies that are shown beside those that may lose nothing
REACTIONS_S = (2.0, 4.0, 6.0, 10.0, 20.0)  # limits of the front
SMARTWATCH, DIGITS, CIFAR = "smartwatch", "spoken_digits", "cifar10"
_QUICK_FRAMES = 200


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    data: Path
    out: Path
    speech: Path | None
    cifar: Path | None
    epochs: int
    passes: int
    prepare: bool
    time_again: bool
    quick: bool
    tables: Path | None

    @property
    def limits_s(self) -> tuple[float, ...]:
        """Limits of the reaction."""
        return (GOAL_REACTION_S,) if self.quick else REACTIONS_S


def main() -> None:
    """Run the parts that have data, and print the document."""
    settings = read_settings()
    torch.set_num_threads(1)
    settings.out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], tuple[list[Case], dict[str, Any]]]] = {SMARTWATCH: lambda: smartwatch(settings)}
    if (speech := settings.speech) is not None:
        epochs = 1 if settings.quick else 3 * settings.epochs
        parts[DIGITS] = lambda: ([digit_case(speech, settings.out / "digits", epochs)], {"synthetic": True})
    if (cifar := settings.cifar) is not None:
        parts[CIFAR] = lambda: ([cifar_case(cifar)], {"synthetic": True})
    document: dict[str, Any] = {"goal": {"latency_ratio": GOAL_RATIO, "reaction_p95_s": GOAL_REACTION_S}}
    opened = {name: make() for name, make in parts.items()}
    for name, (cases, facts) in opened.items():
        document[name] = {**facts, **prepared(name, cases, settings)}
    if not settings.prepare:
        for name, (cases, _) in opened.items():
            document[name]["clock"] = timed(name, cases, document[name], settings)
    text = json.dumps(document, indent=2)
    write_atomic(settings.out / "results.json", (text + "\n").encode(), force=True)
    if settings.tables is not None:
        written = tables(document, f"benchmarks/streams.py, {settings.passes} passes, all ways interleaved")
        data = json.dumps(written, indent=2, ensure_ascii=False) + "\n"
        write_atomic(settings.tables, data.encode(), force=True)
    print(text)


def read_settings() -> Settings:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speech", type=Path, default=None)
    parser.add_argument("--cifar", type=Path, default=None)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--tables", type=Path, default=None, help="data file of docs/results/streams.md to write")
    parser.add_argument("--prepare", action="store_true", help="all but the timing")
    parser.add_argument("--time-again", action="store_true", help="repeat the timing")
    parser.add_argument(
        "--quick", action="store_true", help="one recipe, epoch and limit, three folds, few frames; in DIR/quick"
    )
    settings = Settings(**vars(parser.parse_args()))
    if settings.tables is not None and (settings.quick or settings.prepare):
        parser.error("--tables needs the latencies of all frames: leave --quick and --prepare out")
    if settings.quick:
        return Settings(**{**vars(settings), "out": settings.out / "quick", "epochs": 1, "passes": 2})
    return settings


def smartwatch(settings: Settings) -> tuple[list[Case], dict[str, Any]]:
    """Return the folds of subjects, and how their networks were trained."""
    recipes = dict(list(RECIPES.items())[:1]) if settings.quick else RECIPES
    folds = 3 if settings.quick else None
    cases, choices = Subjects(settings.data, settings.out / SMARTWATCH, recipes, settings.epochs, folds).cases()
    return cases, {"recipes": recipes, "epochs": settings.epochs, "chosen": choices}


def prepared(name: str, cases: Sequence[Case], settings: Settings) -> dict[str, Any]:
    """Return the policies of one kind of streams, made once, with their figures."""
    stored = [
        _once(settings.out / f"{name}_choices_{i}.json", partial(case_choices, name, case, settings))
        for i, case in enumerate(cases)
    ]
    choices = [from_data(own["policies"]) for own in stored]
    result: dict[str, Any] = {
        "cases": [describe(case) for case in cases],
        "fronts": {limit: simulated(cases, [own[limit] for own in choices]) for limit in choices[0]},
        "cut": cut_networks(cases),
        "choices": stored,
    }
    if name == SMARTWATCH:
        weights = [own["context"] for own in stored]
        lossy = [
            _once(settings.out / f"{name}_lossy_choices_{i}.json", partial(lossy_choices, case))
            for i, case in enumerate(cases)
        ]
        result["lossy"] = simulated(cases, [from_data(own)[f"{GOAL_REACTION_S:g}"] for own in lossy])
        hindsight = partial(in_hindsight, cases, settings.limits_s)
        result["in_hindsight"] = _once(settings.out / f"{name}_in_hindsight.json", hindsight)
        result["learned_context"] = context_results(cases, [_filter(own) for own in choices], weights)
    return result


def case_choices(name: str, case: Case, settings: Settings) -> dict[str, Any]:
    """Return the policies of a case and, for the smartwatch, the weights of thresholds that depend on the context."""
    choice = choose(case, settings.limits_s)
    if name != SMARTWATCH:
        return {"policies": as_data(choice)}
    rounds = 4 if settings.quick else ROUNDS
    return {"policies": as_data(choice), "context": learn_context(case, _filter(choice), GOAL_REACTION_S, rounds)}


def lossy_choices(case: Case) -> dict[str, Any]:
    """Return the policies of a case for the reaction of the goal, where some accuracy may be lost."""
    return as_data(choose(case, (GOAL_REACTION_S,), LOSSY_POINTS))


def _filter(choice: Choice) -> StreamPolicy:
    policy = choice[f"{GOAL_REACTION_S:g}"][FILTER]
    assert isinstance(policy, StreamPolicy)
    return policy


def timed(name: str, cases: Sequence[Case], part: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the latencies of one kind of streams, measured once unless they are asked for again."""
    file = settings.out / f"{name}_clock.json"
    if settings.time_again:
        file.unlink(missing_ok=True)
    frames = _QUICK_FRAMES if settings.quick else None
    choices = [from_data(own["policies"]) for own in part["choices"]]
    return _once(file, lambda: clocked(cases, choices, settings.passes, frames))


def _once(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if not file.exists():
        print(f"making {file.name}", file=sys.stderr)
        write_atomic(file, json.dumps(make(), indent=2).encode())
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return stored


if __name__ == "__main__":
    main()
