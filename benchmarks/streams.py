"""Streams answered with what the last frames showed: on sensors of eight persons, and on synthetic streams.

    python benchmarks/streams.py DATA --out DIR [--speech FILE] [--cifar DIR] [--passes 5] [--tables FILE] [--no-clock]

DATA is the smartwatch's archive: samples, length, label, subject and classes of 112 recordings of seven exercises.
Subjects are left out in four folds of two. Four networks are each trained without two folds, one to report on and the
next one to fit temperatures on. So the policies for a fold are chosen on four other subjects, predicted by networks
that saw neither them nor the fold. The networks answer the left-out subjects through the runtime. --speech are spoken
digits (log-mel features), --cifar the folder of CIFAR-10; both become synthetic streams of runs of one class.
Everything lies in DIR and is not made again.

Each kind of policy is chosen for the least MACs within the same limits: an accuracy not below full depth with an answer
per frame, and a reaction (95 % of the changes). Prints one JSON document, also written to DIR/results.json. Latencies
are the clock's, all ways interleaved frame by frame: run it on a quiet machine. --no-clock leaves them out.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stream_cases import Case, joined, make_bundle, predict, source_frames, variant_of
from stream_context import context_results
from stream_data import geometric, save_digits, save_recordings, streams_of, subject_folds
from stream_tables import tables

from eetool.data.registry import load_source
from eetool.data.sequences import number_sequences
from eetool.data.source import Source
from eetool.data.splits import TRAIN as TRAINING
from eetool.data.splits import split_source
from eetool.data.views import inputs_by_name
from eetool.tune.stream_figures import (
    Frames,
    false_switches_per_minute,
    group_interval,
    mean_costs,
    percentile_s,
    reactions_s,
)
from eetool.tune.stream_rivals import FULL_DEPTH, Policy, RivalSearch, decide
from eetool.tune.stream_search import StreamLimits
from eetool_runtime import open_bundle

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples/smartwatch"
PRETRAINED = HERE.parent / "pretrained/cifar10/model.eebundle"
WINDOWS = "@2/0.5"
GOAL_RATIO, GOAL_REACTION_S = 0.35, 6.0
REACTIONS_S = (2.0, 4.0, 6.0, 10.0, 20.0)  # limits of the front
TRAIN = ("--at", "stages.0,stages.1,stages.2", "--branch", "linear", "--augment", "strong")
RUN_LENGTH, SEED = 10, 0  # mean frames of a class in synthetic streams
CIFAR_GROUPS = 8


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    data: Path
    out: Path
    speech: Path | None
    cifar: Path | None
    epochs: int
    passes: int
    clock: bool
    quick: bool
    tables: Path | None = None


def main() -> None:
    """Run the parts that have data, and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speech", type=Path, default=None)
    parser.add_argument("--cifar", type=Path, default=None)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--tables", type=Path, default=None, help="data file of docs/results/streams.md to write")
    parser.add_argument("--clock", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--quick", action="store_true", help="one limit of the reaction, two passes over few frames")
    settings = Settings(**vars(parser.parse_args()))
    if settings.tables is not None and (settings.quick or not settings.clock):
        parser.error("--tables needs the latencies of all frames: leave --quick and --no-clock out")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings.out.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"goal": {"latency_ratio": GOAL_RATIO, "reaction_p95_s": GOAL_REACTION_S}}
    document["smartwatch"] = part(smartwatch_cases(settings), settings, learned=True)
    if settings.speech is not None:
        document["spoken_digits"] = {"synthetic": True, **part(digit_cases(settings), settings)}
    if settings.cifar is not None:
        document["cifar10"] = {"synthetic": True, **part(cifar_cases(settings), settings)}
    text = json.dumps(document, indent=2)
    (settings.out / "results.json").write_text(text + "\n", encoding="utf-8")
    if settings.tables is not None:
        written = tables(document, f"benchmarks/streams.py, {settings.passes} passes, all ways interleaved")
        settings.tables.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(text)


def smartwatch_cases(settings: Settings) -> list[Case]:
    """Return one case for each fold of subjects."""
    folder, folds = settings.out / "smartwatch", subject_folds(settings.data)
    count = len(folds)
    frames: dict[tuple[int, int], Frames] = {}  # (left out as test, left out and predicted)
    own: dict[int, tuple[Path, Frames, np.ndarray, np.ndarray]] = {}
    for test, validation in ((t, (t + 1) % count) for t in range(count)):
        stem = f"test{test}_val{validation}"
        save_recordings(settings.data, folder / f"{stem}.npz", folds[test], folds[validation])
        data = f"signal:{stem}.npz{WINDOWS}"
        options = (*TRAIN, "--epochs", str(settings.epochs))
        bundle = make_bundle(folder, stem, options, data, EXAMPLE, "network:make")
        source = load_source(f"signal:{folder / stem}.npz{WINDOWS}")
        training = source.labels[split_source(source)[TRAINING]]
        counts = np.bincount(training, minlength=len(source.classes)) / len(training)
        at = source.training_count
        logits = predict(bundle, source.inputs[at:])
        middle, end = at + source.official_validation, len(source.labels)
        left_out = {validation: np.arange(at, middle), test: np.arange(middle, end)}
        for fold, indices in left_out.items():
            other = test if fold == validation else validation
            frames[other, fold] = source_frames(source, indices, logits[:, indices - at])
        temperatures = _temperatures(bundle)
        reported = source_frames(source, left_out[test], logits[:, left_out[test] - at], temperatures)
        own[test] = bundle, reported, source.inputs[left_out[test]], counts
    cases = []
    for test, (bundle, reported, inputs, counts) in sorted(own.items()):
        fit = joined([frames[test, fold] for fold in range(count) if (test, fold) in frames])
        cases.append(Case(f"subjects {', '.join(map(str, folds[test]))}", bundle, fit, reported, inputs, counts))
    return cases


def digit_cases(settings: Settings) -> list[Case]:
    """Return one case of spoken digits: streams of every speaker, of other recordings than training."""
    folder = settings.out / "digits"
    assert settings.speech is not None
    save_digits(settings.speech, folder / "digits.npz", RUN_LENGTH)
    options = ("--at", "stages.0.0,stages.1.0", "--branch", "linear", "--epochs", str(3 * settings.epochs))
    bundle = make_bundle(folder, "digits", options, "npz:digits.npz", None, "tcresnet8")
    source = load_source(f"npz:{folder / 'digits.npz'}")
    at, middle = source.training_count, source.training_count + source.official_validation
    logits, temperatures = predict(bundle, source.inputs[at:]), _temperatures(bundle)
    parts = np.arange(at, middle), np.arange(middle, len(source.labels))
    fit, test = (source_frames(source, rows, logits[:, rows - at], temperatures) for rows in parts)
    counts = np.bincount(source.labels[:at], minlength=len(source.classes)) / at
    return [Case("spoken digits", bundle, fit, test, source.inputs[middle:], counts)]


def cifar_cases(settings: Settings) -> list[Case]:
    """Return one case of CIFAR-10's test images in runs, answered by the pretrained network."""
    loaded = load_source(f"cifar10:{settings.cifar}")
    images, labels = loaded.inputs[loaded.training_count :], loaded.labels[loaded.training_count :]
    streams = streams_of(images, labels, CIFAR_GROUPS, geometric(RUN_LENGTH), SEED)
    order, _ = number_sequences("cifar10", streams["sequence"], streams["group"], 1.0)
    source = Source(loaded.name, streams["inputs"], streams["labels"], loaded.classes, None, order=order)
    inputs = next(iter(inputs_by_name(source.inputs, open_bundle(PRETRAINED).manifest.inputs).values()))
    logits, temperatures = predict(PRETRAINED, inputs), _temperatures(PRETRAINED)
    half = np.flatnonzero(order.group < CIFAR_GROUPS // 2), np.flatnonzero(order.group >= CIFAR_GROUPS // 2)
    fit, test = (source_frames(source, rows, logits[:, rows], temperatures) for rows in half)
    rates = np.full(len(loaded.classes), 1 / len(loaded.classes))
    return [Case("CIFAR-10 images in runs", PRETRAINED, fit, test, inputs[half[1]], rates)]


def _temperatures(bundle: Path) -> tuple[float, ...]:
    return open_bundle(bundle).manifest.variants[variant_of(bundle)].temperatures


def part(cases: Sequence[Case], settings: Settings, learned: bool = False) -> dict[str, Any]:
    """Return the tables of one kind of streams, by the limit of the reaction."""
    limits = (GOAL_REACTION_S,) if settings.quick else REACTIONS_S
    chosen = {limit: [choose(case, limit) for case in cases] for limit in limits}
    result: dict[str, Any] = {
        "cases": [describe(case) for case in cases],
        "fronts": {f"{limit:g}": simulated(cases, policies) for limit, policies in chosen.items()},
        "policies": [{name: vars(policy) for name, policy in one.items()} for one in chosen[GOAL_REACTION_S]],
    }
    if learned:
        result["learned_context"] = context_results(cases, GOAL_REACTION_S, quick=settings.quick)
    if settings.clock:
        result["clock"] = clocked(cases, chosen[GOAL_REACTION_S], settings)
    return result


def choose(case: Case, reaction_s: float) -> dict[str, Policy]:
    """Return the policy of every kind, chosen on the frames that the case is not judged on."""
    return RivalSearch(case.fit, case.base_rates, case.costs).choose(StreamLimits(0.0, reaction_s))


def describe(case: Case) -> dict[str, Any]:
    """Return sizes of a case, and the accuracy of every exit alone."""
    test, fit = case.test, case.fit
    return {
        "name": case.name,
        "frames": {"choice": len(fit.labels), "report": len(test.labels)},
        "groups": {"choice": len(np.unique(fit.groups)), "report": len(np.unique(test.groups))},
        "changes": {"choice": _changes(fit), "report": _changes(test)},
        "period_s": test.period_s,
        "exit_accuracy": (test.probabilities.argmax(2) == test.labels[:, None]).mean(0).tolist(),
    }


def _changes(frames: Frames) -> int:
    return int(reactions_s(frames, frames.labels).shape[-1])


def simulated(cases: Sequence[Case], policies: Sequence[Mapping[str, Policy]]) -> dict[str, Any]:
    """Return figures over the frames of all cases by kind; costs are MACs against full depth."""
    rows = {}
    for kind in policies[0]:
        decided = [decide(own[kind], case.test, case.base_rates) for case, own in zip(cases, policies, strict=True)]
        ratios = [
            mean_costs([own[kind]], case.test, one.exits, case.costs)[0] / case.full_macs
            for case, own, one in zip(cases, policies, decided, strict=True)
        ]
        sizes = [len(case.test.labels) for case in cases]
        rows[kind] = {
            **pooled(cases, [one.labels[0] for one in decided]),
            "mac_ratio": float(np.average(ratios, weights=sizes)),
        }
    return rows


def pooled(cases: Sequence[Case], answers: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return accuracy, its difference from full depth per frame with an interval by groups, reactions, and switches."""
    right = np.concatenate([a == c.test.labels for a, c in zip(answers, cases, strict=True)])
    full = np.concatenate([c.test.probabilities[:, -1].argmax(1) == c.test.labels for c in cases])
    groups = joined([case.test for case in cases]).groups
    seconds = np.concatenate([reactions_s(c.test, a) for c, a in zip(cases, answers, strict=True)])
    low, high = group_interval(groups, right, full)
    switches = [float(false_switches_per_minute(c.test, a)) for c, a in zip(cases, answers, strict=True)]
    return {
        "accuracy": float(right.mean()),
        "accuracy_difference": 100 * float(right.mean() - full.mean()),
        "accuracy_difference_ci95": [100 * low, 100 * high],
        "reaction_mean_s": float(seconds.mean()),
        "reaction_p95_s": float(percentile_s(seconds)),
        "false_switches_per_minute": float(np.average(switches, weights=[len(a) for a in answers])),
    }


def clocked(cases: Sequence[Case], policies: Sequence[dict[str, Policy]], settings: Settings) -> dict[str, Any]:
    """Return the latency of every kind over all cases, by the clock; answers are the runtime's."""
    count = 200 if settings.quick else None
    passes = 2 if settings.quick else settings.passes
    timed = [case.time(own, passes, count) for case, own in zip(cases, policies, strict=True)]
    rows: dict[str, Any] = {}
    reference = [one[FULL_DEPTH] for one in timed]
    for kind in policies[0]:
        own = [one[kind] for one in timed]
        latency = np.concatenate([one.latency_ms for one in own])
        full = np.concatenate([one.latency_ms for one in reference])
        ratio = float(latency.mean() / full.mean())
        ratios = [
            float(np.mean([o.pass_ms[i] for o in own]) / np.mean([r.pass_ms[i] for r in reference]))
            for i in range(passes)
        ]
        rows[kind] = {
            "mean_ms": float(latency.mean()),
            "p99_ms": float(np.percentile(latency, 99)),
            "ratio": ratio,
            "ratio_by_pass": ratios,
            "same_answers": float(
                np.mean(
                    np.concatenate(
                        [
                            o.labels == decide(p[kind], c.test, c.base_rates).labels[0][: len(o.labels)]
                            for o, p, c in zip(own, policies, cases, strict=True)
                        ]
                    )
                )
            ),
        }
        if count is None:
            rows[kind] |= pooled(cases, [one.labels for one in own])
    return {"passes": passes, "frames": count, "ways": rows}


if __name__ == "__main__":
    main()
