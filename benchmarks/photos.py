"""Early exit on real photographs of mixed sizes, from an archive to verdicts for this machine and a Raspberry Pi 4.

    python benchmarks/photos.py DATA --out FOLDER [--weights FILE] [--side 128] [--epochs 30]

DATA is a .tar of photographs in a folder for each of six classes, such as TrashNet. Each photograph goes to train/,
val/ or test/ by the hash of its content (50, 20 and 30 %), whatever else is in the archive. --weights are the published
ones of EfficientNet-Lite0 (safetensors). They stay, below a classifier for the photographs; `eetool advise` chooses the
exits, which are trained on stored features. Without weights the small network of `examples/photos` is trained from
scratch. Every output lies in FOLDER and is not made again, and an interrupted training resumes.

Prints one JSON document, which is also written to FOLDER/results.json: the split, the accuracy of every exit, latency
and accuracy of every way to ship the model, the verdict here, and the prediction and verdict for the device. --tables
writes them as the tables of `docs/results/photographs.md`. Without FOLDER/bench.json only the timing is repeated.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples/photos"
# Upper bounds of the first byte of the hash, out of 256.
SPLITS = (("test", 77), ("val", 128), ("train", 256))
LITE0_PIXELS = "0.498039,0.498039,0.498039/0.501961,0.501961,0.501961"  # (x - 127) / 128 of pixels from 0 to 255
SUFFIXES = (".jpg", ".jpeg", ".png")
DEVICE = "rpi4"
UNSTABLE = 7  # exit code of a measurement on a busy machine


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    data: Path
    out: Path
    weights: Path | None
    side: int
    epochs: int
    exits: int
    max_accuracy_drop: float
    threads: int
    torch_device: str
    seed: int
    limit: int | None
    quick: bool
    tables: Path | None
    note: str

    @property
    def network(self) -> str:
        """Reference of the network."""
        return "efficientnet_lite0:make" if self.weights else "network:make"


def split_of(content: bytes) -> str:
    """Return the split of a photograph, which depends on its bytes alone."""
    first = hashlib.sha256(content).digest()[0]
    return next(name for name, bound in SPLITS if first < bound)


def unpack(archive: Path, folder: Path, limit: int | None) -> None:
    """Write the photographs of `archive` to folder/SPLIT/CLASS, at most `limit` of each class."""
    if folder.exists():
        return
    unfinished = folder.with_name(folder.name + ".partial")
    taken: Counter[str] = Counter()
    with tarfile.open(archive) as photographs:
        for member in photographs:
            place = PurePosixPath(member.name)
            if not member.isfile() or place.suffix.lower() not in SUFFIXES or len(place.parts) < 2:
                continue
            name = place.parts[-2]
            if limit is not None and taken[name] >= limit:
                continue
            taken[name] += 1
            opened = photographs.extractfile(member)
            assert opened is not None  # it is a file
            content = opened.read()
            target = unfinished / split_of(content) / name / place.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    unfinished.rename(folder)


def run(settings: Settings, output: str, *arguments: object) -> Path:
    """Run `eetool arguments -o output` in the folder of results, unless the output exists."""
    path = settings.out / output
    if path.exists():
        return path
    command = [sys.executable, "-m", "eetool", *map(str, arguments), "-o", str(path)]
    if path.with_name(path.name + ".resume").exists():
        command.append("--resume")
    print("+", " ".join(command[2:]), file=sys.stderr)
    places = os.pathsep.join(filter(None, (str(HERE), str(EXAMPLE), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": places}
    code = subprocess.run(command, check=False, stdout=sys.stderr, env=environment).returncode
    if code and not (code == UNSTABLE and path.exists()):  # noisy times are kept, and marked in the document
        raise subprocess.CalledProcessError(code, command)
    return path


def train_options(settings: Settings, data: str) -> list[object]:
    """Return the options of training: exits as advised on a frozen backbone where there are published weights."""
    common = ["--epochs", settings.epochs, "--seed", settings.seed]
    common += ["--threads", settings.threads, "--torch-device", settings.torch_device]
    if settings.weights is None:
        return [*common, "--recipe", "distill", "--exits", settings.exits]
    start = settings.out / "start.safetensors"
    if not start.exists():
        sys.path.insert(0, str(HERE))
        from efficientnet_lite0 import write_start

        write_start(settings.weights, start, f"{data}@{settings.side}", settings.seed)
    given = ("--weights", start, "--normalise", LITE0_PIXELS)
    search = ("--exits", settings.exits, "--max-accuracy-drop", settings.max_accuracy_drop, "--device", DEVICE)
    sized = ("--data", f"{data}@{settings.side}")
    path = run(settings, "advice.json", "advise", settings.network, *given, *sized, *search, "--seed", settings.seed)
    exits = json.loads(path.read_text(encoding="utf-8"))["exits"]
    branches = [word for at in exits for word in ("--branch", at["branch"])]
    return [*common, *given, "--recipe", "frozen", "--at", ",".join(at["tap"] for at in exits), *branches]


def measure(settings: Settings) -> dict[str, Any]:
    """Return the results of the whole chain."""
    photographs = settings.out / "photographs"
    unpack(settings.data, photographs, settings.limit)
    data, named = ("--data", f"folder:{photographs}"), ("--model", settings.network)
    shape = ("--input", f"3x{settings.side}x{settings.side}")
    model = run(settings, "model.pt", "train", settings.network, *data, *shape, *train_options(settings, data[1]))
    drop = ("--max-accuracy-drop", settings.max_accuracy_drop)
    tuned = run(settings, "tuned.pt", "tune", model, *data, *named, *drop)
    both = ("--precision", "fp32", "--precision", "int8", "--calibration-data", data[1])
    bundle = run(settings, "photos.eebundle", "export", tuned, *named, *both)
    quick = ("--passes", 1, "--min-seconds", 0, "--accept-unstable") if settings.quick else ()
    bench = run(settings, "bench.json", "bench", bundle, *data, *drop, "--threads", settings.threads, *quick)
    device = run(settings, f"{DEVICE}.json", "estimate", bundle, "--device", DEVICE)
    shown, predicted = (json.loads(path.read_text(encoding="utf-8")) for path in (bench, device))
    counts = {place.name: sum(1 for _ in place.rglob("*.*")) for place in sorted(photographs.iterdir())}
    return {
        "network": settings.network,
        "side": settings.side,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "photographs": counts,
        "machine": shown["machine"],
        "exits": [{"exit": i, "accuracy": at["accuracy"]} for i, at in enumerate(shown["exits"])],
        "ways": shown.get("ways") or shown["points"],
        "verdict": shown["verdict"],
        "unstable": shown["unstable"],
        "advice": advice(settings),
        "device": {key: predicted.get(key) for key in ("device", "provenance", "means", "comparison", "warnings")},
    }


def tables(results: dict[str, Any], note: str) -> dict[str, Any]:
    """Return the results as a data file of `docs/results`."""
    ways = [
        [
            {True: "*", False: None, None: "?"}[way["front"]],
            way["name"],
            round(100 * way["accuracy"], 2),
            _rounded((way["accuracy_difference"], *way["accuracy_difference_ci95"]), 2),
            round(way["latency_ms"]["mean"], 2),
            round(way["latency_ms"]["p99"], 2),
            _rounded((way["latency_ratio"], *way["latency_ratio_ci95"]), 2),
            None if way["exit_shares"] is None else [round(100 * share) for share in way["exit_shares"]],
        ]
        for way in results["ways"]
    ]
    predicted = [
        [
            row["name"],
            None
            if row["latency_ms"] is None
            else [round(value, 1) for value in (row["latency_ms"], *row["interval_ms"])],
            None if row["latency_ratio"] is None else round(row["latency_ratio"], 2),
            None if row["accuracy"] is None else round(100 * row["accuracy"], 2),
        ]
        for row in results["device"]["comparison"]["rows"]
    ]
    exits = [[at["exit"], round(100 * at["accuracy"], 2)] for at in results["exits"]]
    return {
        "source": f"benchmarks/photos.py; {note}",
        "tables": {
            "ways": _table(_WAY_COLUMNS, ways),
            "exits": _table({"exit": "number", "accuracy, %": "number"}, exits),
            **forecast_tables(results["advice"]),
            DEVICE: _table(_DEVICE_COLUMNS, predicted),
            "verdicts": _table(
                {"where": "text", "verdict": "text"},
                [["here", results["verdict"]["text"]], [DEVICE, results["device"]["comparison"]["verdict"]["text"]]],
            ),
        },
    }


def forecast_tables(found: dict[str, Any] | None) -> dict[str, Any]:
    """Return the forecast of `eetool advise` as a table; none without weights, where it does not run."""
    if found is None:
        return {}
    points = [
        [
            point["name"],
            _rounded((point["ratio"], *point["ratio_ci95"]), 2),
            round(100 * point["accuracy"], 1),
            _rounded((point["accuracy_difference"], *point["accuracy_difference_ci95"]), 1),
            [round(100 * share) for share in point["exit_shares"]],
        ]
        for point in found["points"]
    ]
    return {"forecast": _table(_FORECAST_COLUMNS, points)}


_FORECAST_COLUMNS = {
    **{"point": "text", "ratio": "interval", "accuracy, %": "number"},
    **{"difference, points": "interval", "exits, %": "shares"},
}
_WAY_COLUMNS = {
    **{"front": "text", "way": "text", "accuracy, %": "number", "difference, points": "interval"},
    **{"mean, ms": "number", "p99, ms": "number", "ratio": "interval", "exits, %": "shares"},
}
_DEVICE_COLUMNS = {"network": "text", "ms": "interval", "ratio": "number", "accuracy, %": "number"}


def _rounded(values: Iterable[float], digits: int) -> list[float]:
    return [round(value, digits) for value in values]


def _table(columns: dict[str, str], rows: list[list[Any]]) -> dict[str, Any]:
    titles = [{"title": title, "kind": kind} for title, kind in columns.items()]
    return {"columns": titles, "rows": [{"cells": cells} for cells in rows]}


def advice(settings: Settings) -> dict[str, Any] | None:
    """Return exits, forecast and verdict of `eetool advise`; None where the exits are those of `--exits`."""
    if settings.weights is None:
        return None
    document = json.loads((settings.out / "advice.json").read_text(encoding="utf-8"))
    return {key: document[key] for key in ("seconds", "unsplit", "exits", "points", "verdict")}


def main() -> None:
    """Run the chain and print its results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--exits", type=int, default=2, help="at most, with --weights")
    parser.add_argument("--max-accuracy-drop", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=None, help="photographs of each class, for a trial")
    parser.add_argument("--quick", action="store_true", help="one pass over the test photographs, for a trial")
    parser.add_argument("--tables", type=Path, default=None, help="data file of the results page to write")
    parser.add_argument("--note", default="quiet machine", help="of the data file: on what the times were measured")
    settings = Settings(**vars(parser.parse_args()))
    settings.out.mkdir(parents=True, exist_ok=True)
    try:
        results = measure(settings)
    except subprocess.CalledProcessError as error:  # the command has said why
        sys.exit(error.returncode)
    text = json.dumps(results, indent=2)
    (settings.out / "results.json").write_text(text + "\n", encoding="utf-8")
    if settings.tables is not None:
        document = json.dumps(tables(results, settings.note), indent=2, ensure_ascii=False)
        settings.tables.write_text(document + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
