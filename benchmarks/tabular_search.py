"""A tabular benchmark of early-exit search: all exits of a family of backbones, and search methods on their table.

    python benchmarks/tabular_search.py make TABLE --data cifar10:DIR --weights DIR --folder F
    python benchmarks/tabular_search.py evaluate TABLE --backbone resnet20 --exits 2:0,5:3 --max-accuracy-drop 1
    python benchmarks/tabular_search.py compare TABLE --folder G
    python benchmarks/tabular_search.py picks TABLE --backbone resnet20
    python benchmarks/tabular_search.py joint TABLE --backbone resnet-16x0-8x3-16x3-32x4 --data cifar10:DIR --folder J
    python benchmarks/tabular_search.py tables COMPARISON.json … --source WORDS --output FILE

`make` trains what its folder lacks and writes the table, `compare` runs the searches that its folder lacks, `joint`
trains the networks of `picks` in full; they resume after an interruption. Formats and methods are in
docs/search-table.md. Every command prints one JSON document.
"""

import argparse
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tabular.table_evaluation import (
    MACS,
    TableEvaluator,
    TableNetwork,
    check_network,
    figures_of,
    objectives,
    parse_exits,
)
from tabular.table_file import PARTS, SearchTable, read_table

from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.records import write_atomic
from eetool.search.methods.batch_thresholds import cheapest_at_drops

_EPOCHS = 7


def main() -> None:
    """Run one command, and print its document."""
    options = _parser().parse_args()
    try:
        document = _COMMANDS[options.command](options)
    except EarlyExitError as error:
        print(f"error: {error.message}. {error.hint or ''}".rstrip(), file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(json.dumps(document, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="train backbones and branches, and write the table")
    make.add_argument("table", type=Path)
    make.add_argument("--data", required=True)
    make.add_argument("--folder", type=Path, required=True, help="what is done; the same command continues from it")
    make.add_argument("--weights", type=Path, help="folder with cifar10_resnet{20,32,44,56}.safetensors")
    make.add_argument("--train", help="backbones to train, with commas; by default the six of the family")
    make.add_argument("--train-epochs", type=int, default=_EPOCHS, help="of these backbones")
    make.add_argument("--devices", default="rpi4,rpi5")
    make.add_argument("--examples", type=int, default=8000, help="training images of branches")
    make.add_argument("--epochs", type=int, default=4, help="of branches")
    make.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    make.add_argument("--force", action="store_true", help="replace TABLE")
    evaluate = commands.add_parser("evaluate", help="figures of one network of the table")
    evaluate.add_argument("table", type=Path)
    evaluate.add_argument("--backbone", required=True)
    evaluate.add_argument("--exits", default="", help="tap:branch by index, as in 2:0,5:3")
    evaluate.add_argument("--thresholds", help="one for each exit, `never` for none; by default they are tuned")
    evaluate.add_argument("--max-accuracy-drop", type=float, default=1.0, help="points, for tuned thresholds")
    compare = commands.add_parser("compare", help="search methods with many seeds")
    compare.add_argument("table", type=Path)
    compare.add_argument("--folder", type=Path, required=True, help="results of searches")
    compare.add_argument("--methods", help="with commas; by default all")
    compare.add_argument("--objectives", help="macs, rpi4_latency_ms, …; with commas")
    compare.add_argument("--trials", default="50,200,1000")
    compare.add_argument("--seeds", type=int, default=30)
    compare.add_argument("--ablation-trials", type=int, default=200)
    compare.add_argument("--most-exits", type=int, default=2, help="of networks among which the optimum is enumerated")
    compare.add_argument("--parts", default="compare,recombination,ablation,regret")
    compare.add_argument("--workers", type=int, default=2)
    picks = commands.add_parser("picks", help="the best and random networks of one backbone, to train in full")
    _add_picks(picks)
    joint = commands.add_parser("joint", help="train them in full, and compare the ranking with that of the table")
    _add_picks(joint)
    joint.add_argument("--data", required=True, help="those of the table")
    joint.add_argument("--folder", type=Path, required=True, help="networks that are trained")
    joint.add_argument("--train-epochs", type=int, default=_EPOCHS)
    joint.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    tables = commands.add_parser("tables", help="the data file of docs/results/search-methods.md")
    tables.add_argument("documents", type=Path, nargs="+", metavar="COMPARISON", help="of `compare`, and of `joint`")
    tables.add_argument("--source", required=True, help="commands and conditions, in words")
    tables.add_argument("--output", type=Path, required=True)
    tables.add_argument("--keep", action="store_true", help="keep comparisons of OUTPUT that no COMPARISON has")
    return parser


def _add_picks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--objective", default=MACS)
    parser.add_argument("--count", type=int, default=5, help="best ones, and as many random ones")
    parser.add_argument("--most-exits", type=int, default=2)
    parser.add_argument("--max-accuracy-drop", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)


def _make(o: argparse.Namespace) -> dict[str, Any]:
    from tabular.exit_figures import BranchTraining
    from tabular.family import TRAINED, family
    from tabular.make_table import MakeSettings, make_table

    trained = TRAINED if o.train is None else tuple(filter(None, o.train.split(",")))
    members = family(o.weights, trained, o.train_epochs)
    settings = MakeSettings(o.data, tuple(o.devices.split(",")), BranchTraining(o.examples, o.epochs))
    if o.table.exists() and not o.force:
        raise UsageError(f"{o.table} exists", "--force replaces it.")
    seconds = make_table(members, settings, o.folder, o.table, o.workers, o.force)
    return {"table": str(o.table), "size_bytes": o.table.stat().st_size, "seconds": seconds}


def _evaluate(o: argparse.Namespace) -> dict[str, Any]:
    table = read_table(o.table)
    network = TableNetwork(_backbone(table, o.backbone), parse_exits(o.exits))
    check_network(network, table)
    first = TableEvaluator(table, MACS)
    problem = first.problem(network, PARTS[0])
    tuned = cheapest_at_drops(problem, [o.max_accuracy_drop])[0]
    thresholds = tuned if o.thresholds is None else _thresholds(o.thresholds, len(network.exits))
    document: dict[str, Any] = {"network": asdict(network), "thresholds": thresholds, "parts": {}}
    for objective in objectives(table):
        evaluator = first if objective == MACS else TableEvaluator(table, objective)
        for part in PARTS:
            figures = figures_of(evaluator.problem(network, part), thresholds)
            own = document["parts"].setdefault(part, {"accuracy": figures.accuracy})
            own[objective] = figures.cost
    return document


def _backbone(table: SearchTable, name: str) -> int:
    if name not in table.backbones:
        raise UsageError(f"the table has no backbone {name!r}", f"It has {', '.join(table.backbones)}.")
    return table.backbones.index(name)


def _thresholds(text: str, exits: int) -> tuple[float | None, ...]:
    try:
        values = tuple(None if one == "never" else float(one) for one in text.split(",") if one)
    except ValueError:
        raise UsageError(f"{text!r} are no thresholds", "Write numbers or `never`, as in 0.9,never.") from None
    if len(values) != exits or any(value is not None and not 0 <= value <= 1 for value in values):
        raise UsageError(f"{text!r} are not {exits} thresholds from 0 to 1", "Give one for each exit.")
    return values


def _compare(o: argparse.Namespace) -> dict[str, Any]:
    from tabular.comparison import PARTS as ALL
    from tabular.comparison import ComparisonSettings, compare

    defaults = {field.name: field.default for field in fields(ComparisonSettings)}
    settings = ComparisonSettings(
        methods=tuple(o.methods.split(",")) if o.methods else defaults["methods"],  # type: ignore[arg-type]
        objectives=tuple(o.objectives.split(",")) if o.objectives else defaults["objectives"],  # type: ignore[arg-type]
        trials=tuple(map(int, o.trials.split(","))),
        seeds=o.seeds,
        ablation_trials=o.ablation_trials,
        most_exits=o.most_exits,
        parts=tuple(o.parts.split(",")),
    )
    if unknown := [part for part in settings.parts if part not in ALL]:
        raise UsageError(f"there is no part {unknown[0]!r}", f"Parts: {', '.join(ALL)}.")
    return compare(o.table, o.folder, settings, o.workers)


def _picks(o: argparse.Namespace) -> dict[str, Any]:
    from tabular.picks import PickSettings, pick_networks, picks_document

    table = read_table(o.table)
    backbone, evaluator = _backbone(table, o.backbone), TableEvaluator(table, o.objective)
    settings = PickSettings(o.count, o.most_exits, o.max_accuracy_drop, o.seed)
    return picks_document(evaluator, backbone, pick_networks(evaluator, backbone, settings))


def _joint(o: argparse.Namespace) -> dict[str, Any]:
    from tabular.joint_training import JointTraining, compare_with_joint_training
    from tabular.picks import PickSettings, pick_networks

    table = read_table(o.table)
    backbone, evaluator = _backbone(table, o.backbone), TableEvaluator(table, o.objective)
    picks = pick_networks(evaluator, backbone, PickSettings(o.count, o.most_exits, o.max_accuracy_drop, o.seed))
    training = JointTraining(o.data, o.folder, o.train_epochs)
    compared = compare_with_joint_training(evaluator, picks, training, o.max_accuracy_drop, o.workers)
    return {"backbone": table.backbones[backbone], "objective": o.objective, "compared": picks.compared, **compared}


def _tables(o: argparse.Namespace) -> dict[str, Any]:
    from tabular.result_tables import tables

    documents = [_read_document(path) for path in o.documents]
    if not any("scales" in document for document in documents):
        raise UsageError("no COMPARISON is one of `compare`", "Give at least one, and those of `joint` beside it.")
    result = tables(documents, o.source, _read_document(o.output) if o.keep else None)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    write_atomic(o.output, f"{text}\n".encode(), force=True)
    return {"output": str(o.output), "rows": {name: len(one["rows"]) for name, one in result["tables"].items()}}


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}", "Give a JSON document of this script.") from None
    if not isinstance(document, dict):
        raise ArtefactError(f"{path} holds no JSON object", "Give a JSON document of this script.")
    return document


_COMMANDS = {
    "make": _make,
    "evaluate": _evaluate,
    "compare": _compare,
    "picks": _picks,
    "joint": _joint,
    "tables": _tables,
}

if __name__ == "__main__":
    main()
