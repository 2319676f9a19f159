"""Early exit on real photographs: exits inside a network, and cascades of resolutions, against static networks.

    python benchmarks/photos.py ARCHIVE --weights FOLDER --out FOLDER [--prepare | --time-again] [--tables FILE]

ARCHIVE is a .tar of photographs in a folder for each class, such as TrashNet. The hash of its content puts each into
train/, val/ or test/ (60, 15 and 25 %). --weights is the folder of published ImageNet weights (safetensors) of
EfficientNet-Lite0 and MobileNetV1. Forms and operating points are chosen on val/; test/ is only measured. Each of the
--splits random splits has another salt of the hash, and the forms that were chosen on the first split.

Every output lies in the folder --out and is not made again, and an interrupted training resumes. --prepare does all but
the timing, on any machine; --time-again repeats the timing alone. Prints one JSON document, which is also written to
results.json in that folder. --tables writes the tables of `docs/results/photographs.md`. With --random-only these
already hold the choice of the first split, and nothing but the table of the random splits is made.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from photo_files_timing import time_files
from photo_models import (
    CASCADE_DROP,
    CASCADES,
    DATA,
    FRONTS,
    FULL_SIZE,
    INSIDE,
    INSIDE_DROP,
    NETWORKS,
    THREE,
    VARIANTS,
    Cascade,
    Exits,
    Tried,
    Weights,
    choose,
    export,
    fit,
    join,
    train_exits,
    train_network,
    tried_points,
)
from photo_refusals import answer, refusals
from photo_split import counts, unpack
from photo_steps import UNSTABLE, Folder, Step
from photo_tables import chosen_forms, tables, with_random_splits

from eetool.records import write_atomic

DEVICES = ("rpi4", "rpi5")
FIRST = "first-split"
ONE_VARIANT = ("--format", "onnx", "--precision", "fp32")
_RANDOM_NETWORKS = tuple(network.name for network in NETWORKS if network.size != 192)


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    archive: Path
    weights: Path
    out: Path
    splits: int
    limit: int | None
    prepare: bool
    time_again: bool
    random_only: bool
    quick: bool
    tables: Path | None
    note: str


@dataclass(frozen=True)
class Choice:
    """Forms and points that were chosen on held-out photographs, by their role, and the unsplit network."""

    reference: Tried
    roles: dict[str, Tried]


def make_networks(settings: Settings, folder: Folder, names: tuple[str, ...]) -> None:
    """Write static networks and their bundles."""
    for network in NETWORKS:
        if network.name in names:
            train_network(folder, network, Weights(settings.weights.resolve()))


def make_forms(folder: Folder, exits: tuple[Exits, ...], cascades: tuple[Cascade, ...]) -> None:
    """Write networks with exits, and cascades."""
    for one in exits:
        train_exits(folder, one)
    for cascade in cascades:
        join(folder, cascade)


def choose_forms(folder: Folder) -> Choice:
    """Return the choice among all forms, and what was expected of each, on held-out photographs."""
    inside = [point for one in INSIDE for point in tried_points(folder, one.name)]
    reference = next(point for point in inside if point.point == "full")
    roles = {"inside": choose(inside, reference, INSIDE_DROP)}
    for role, cascades in (("cascade", CASCADES), ("three", THREE)):
        points = [point for one in cascades for point in tried_points(folder, one.name)]
        roles[role] = choose(points, reference, CASCADE_DROP)
    return Choice(reference, roles)


def fit_order(folder: Folder) -> dict[str, Any]:
    """Return which of three networks `eetool cascade --fit-order` keeps, with and without sums of logits."""
    return {
        cascade.name: fit(folder, f"{cascade.name}.order.pt", cascade, "--fit-order").document["fit"]
        for cascade in THREE
    }


def rivals(names: tuple[str, ...]) -> list[str]:
    """Return the options that compare with static networks."""
    return [word for name in names for word in ("--against", f"{name}.eebundle")]


def bench(settings: Settings, folder: Folder, form: str, names: tuple[str, ...], *options: object) -> dict[str, Any]:
    """Return the document of `eetool bench` of a form against static networks and the unsplit one."""
    quick = ("--passes", 1, "--min-seconds", 0, "--accept-unstable") if settings.quick else options
    reference = ("--reference", f"{FULL_SIZE}.eebundle")
    output = f"{form}.bench.json"
    common = ("--data", DATA, "--threads", 1, *reference, *rivals(names))
    folder.make(output, "bench", f"{form}.eebundle", *common, *quick, codes=(0, UNSTABLE))
    document: dict[str, Any] = json.loads((folder.path / output).read_text(encoding="utf-8"))
    return document


def from_files(folder: Folder, choice: Choice) -> dict[str, Any]:
    """Return latencies from file to class, from an earlier run or measured now."""
    kept = folder.path / "from-files.bench.json"
    if not kept.exists():
        points = {FULL_SIZE: "full", **{at.form: at.point for at in choice.roles.values()}}
        measured = time_files(folder.path, points, FULL_SIZE)
        kept.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    document: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return document


def estimate(folder: Folder, form: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the document of `eetool estimate` of a form and static networks, for every device."""
    common = (f"{form}.eebundle", "--data", DATA, *rivals(names))
    return {d: folder.run(f"{form}.{d}", "estimate", *common, "--device", d).document for d in DEVICES}


def measure_first(settings: Settings) -> dict[str, Any]:
    """Return everything about the first split."""
    folder = Folder(settings.out / FIRST)
    unpack(settings.archive, folder.path / "photographs", limit=settings.limit)
    names = tuple(network.name for network in NETWORKS)
    other = str(Weights(settings.weights.resolve()).of(NETWORKS[0]))
    make_networks(settings, folder, names)
    make_forms(folder, (*INSIDE, *FRONTS), (*CASCADES, *THREE))
    choice = choose_forms(folder)
    variants = ONE_VARIANT if settings.quick else VARIANTS
    for name in names:
        export(folder, name, False, variants)
    forms = dict.fromkeys(tried.form for tried in choice.roles.values())
    for form in forms:
        export(folder, form, True, variants)
    result = {
        "photographs": counts(folder.path / "photographs"),
        "reference": asdict(choice.reference),
        "chosen": {role: asdict(tried) for role, tried in choice.roles.items()},
        "tried": [asdict(at) for one in (*INSIDE, *CASCADES, *THREE) for at in tried_points(folder, one.name)],
        "order": fit_order(folder),
        "devices": {form: estimate(folder, form, (FULL_SIZE,) if index else names) for index, form in enumerate(forms)},
        "refusals": [
            {"case": one.case, "command": one.step.command, "code": one.step.code, "seconds": one.step.seconds}
            | {"answer": answer(one)}
            for one in refusals(folder, other)
        ],
    }
    if not settings.prepare:
        result["benches"] = {
            form: bench(settings, folder, form, names if index == 0 else ()) for index, form in enumerate(forms)
        }
        result["from_files"] = from_files(folder, choice)
    return {**result, "steps": [asdict(step) for step in without_documents(folder)]}


def measure_random(settings: Settings, number: int, forms: Mapping[str, str]) -> dict[str, Any]:
    """Return points chosen and measured on a random split, with the forms, by role, that the first split chose."""
    folder = Folder(settings.out / f"split-{number}")
    unpack(settings.archive, folder.path / "photographs", str(number), settings.limit)
    make_networks(settings, folder, _RANDOM_NETWORKS)
    inside = next(one for one in INSIDE if one.name == forms["inside"])
    cascade = next(one for one in CASCADES if one.name == forms["cascade"])
    needed = (inside.name, *cascade.members)
    make_forms(folder, tuple(one for one in (*INSIDE, *FRONTS) if one.name in needed), (cascade,))
    for name in _RANDOM_NETWORKS:
        export(folder, name, False, ONE_VARIANT)
    points = {form: tried_points(folder, form) for form in (inside.name, cascade.name)}
    reference = next(point for point in points[inside.name] if point.point == "full")
    roles = {
        "inside": choose(points[inside.name], reference, INSIDE_DROP),
        "cascade": choose(points[cascade.name], reference, CASCADE_DROP),
    }
    for form in points:
        export(folder, form, True, ONE_VARIANT)
    result: dict[str, Any] = {
        "photographs": counts(folder.path / "photographs"),
        "chosen": {role: asdict(tried) for role, tried in roles.items()},
    }
    if not settings.prepare:
        against = tuple(name for name in _RANDOM_NETWORKS if name != FULL_SIZE)
        short = ("--passes", 3, "--min-seconds", 0)
        result["benches"] = {
            role: bench(settings, folder, tried.form, against if role == "inside" else (), *short)
            for role, tried in roles.items()
        }
    return result


def without_documents(folder: Folder) -> list[Step]:
    """Return all steps of a folder by time and memory, without what they printed."""
    steps = [Step(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.path.glob("*.step.json"))]
    return [Step(step.command, step.code, step.seconds, step.peak_mb, {}, []) for step in steps]


def measure(settings: Settings) -> dict[str, Any]:
    """Return all results."""
    if settings.time_again:
        for path in settings.out.glob("*/*.bench.json*"):
            path.unlink()
    results: dict[str, Any] = {}
    if settings.random_only:
        forms = chosen_forms(json.loads(_tables_file(settings).read_text(encoding="utf-8")))
    else:
        results["first_split"] = measure_first(settings)
        forms = {role: tried["form"] for role, tried in results["first_split"]["chosen"].items()}
    results["random_splits"] = [measure_random(settings, number, forms) for number in range(1, settings.splits + 1)]
    return results


def write_tables(settings: Settings, results: dict[str, Any]) -> None:
    """Write the data file of the results page, or its table of the random splits alone."""
    path = _tables_file(settings)
    if settings.random_only:
        document = with_random_splits(json.loads(path.read_text(encoding="utf-8")), results["random_splits"])
    else:
        document = tables(results, settings.note)
    write_atomic(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(), force=True)


def _tables_file(settings: Settings) -> Path:
    if settings.tables is None:
        sys.exit("--random-only needs --tables: the file that holds what the first split chose")
    return settings.tables


def main() -> None:
    """Run the chain and print its results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=5, help="random splits beside the first")
    parser.add_argument("--limit", type=int, default=None, help="photographs of each class, for a trial")
    stage = parser.add_mutually_exclusive_group()
    stage.add_argument("--prepare", action="store_true", help="all but the timing")
    stage.add_argument("--time-again", action="store_true", help="repeat the timing, and nothing else that exists")
    parser.add_argument("--random-only", action="store_true", help="random splits alone, with the choice in --tables")
    parser.add_argument("--quick", action="store_true", help="ONNX in fp32 and one pass, for a trial")
    parser.add_argument("--tables", type=Path, default=None, help="data file of the results page to write")
    parser.add_argument("--note", default="quiet machine", help="of the data file: on what the times were measured")
    settings = Settings(**vars(parser.parse_args()))
    settings.out.mkdir(parents=True, exist_ok=True)
    try:
        results = measure(settings)
    except subprocess.CalledProcessError as error:  # the command has said why
        sys.exit(error.returncode)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (settings.out / "results.json").write_text(text + "\n", encoding="utf-8")
    if settings.tables is not None and not settings.prepare:
        write_tables(settings, results)
    print(text)


if __name__ == "__main__":
    main()
