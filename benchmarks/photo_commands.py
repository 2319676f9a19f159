"""Time and peak memory of every command on the way of large photographs from training to a verdict.

    python benchmarks/photo_commands.py DATA --weights FILE --out FOLDER [--threads 2] [--checkout DIR]

DATA is an archive as `benchmarks/photos.py` takes it, and --weights are the published ones of EfficientNet-Lite0. Each
command is a process of its own, with default options beside its epochs. The cache of decoded photographs and features
lies in FOLDER and is empty at the start; the first command that needs something fills it. `train joint` and `train
distill` have --part photographs of each class. --checkout measures the sources of another commit. Versions that resize
no photographs take --sized: photographs of the final size, with `val` in the training set. --tables with --before, the
FOLDER of another commit, writes a table of both for docs/results.

Prints one JSON document, which is FOLDER/commands.json: for every command the wall time, the processor time of the
process and its children, and the highest memory. `largest_process_mb` is the peak of one process as the kernel records
it, `all_processes_mb` the sum of resident memory over the command's processes, sampled, and `anonymous_mb` the part of
it that no file backs. A finished command is not repeated; --only with --again repeats commands.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from typing import Any

from photo_command_tables import write_table
from photo_split import unpack

HERE = Path(__file__).parent
NETWORK = "efficientnet_lite0:make"
PIXELS = "0.498039,0.498039,0.498039/0.501961,0.501961,0.501961"  # (x - 127) / 128 of pixels from 0 to 255
DEVICE, SMALL_SIDE = "rpi4", 128
PAGE_BYTES = resource.getpagesize()
SAMPLE_SECONDS = 0.05
RESULTS = "commands.json"
UNSTABLE = 7  # exit code of `bench` on a busy machine


@dataclass(frozen=True)
class Settings:
    """Options of the script."""

    data: Path
    weights: Path
    out: Path
    side: int
    epochs: int
    threads: int
    limit: int | None
    part: int
    checkout: Path
    sized: bool
    only: str | None
    again: bool
    quick: bool


@dataclass(frozen=True)
class Command:
    """One command of the way: words behind `eetool`, without its output, and the name of that in FOLDER."""

    name: str
    words: tuple[object, ...]
    output: str | None


def commands(settings: Settings) -> Iterator[Command]:
    """Yield the commands in the order in which one needs the output of another."""
    data = ("--data", f"folder:{settings.out / photographs(settings)}")
    part = ("--data", f"folder:{settings.out / ('part-sized' if settings.sized else 'part')}")
    out = settings.out
    given = ("--weights", out / "start.safetensors", "--normalise", PIXELS)
    common = (*given, "--seed", 0, "--threads", settings.threads)
    side, small = ((f"--input=3x{n}x{n}",) for n in (settings.side, SMALL_SIDE))
    frozen = ("--recipe", "frozen", "--epochs", settings.epochs)
    quick = ("--passes", 1, "--min-seconds", 0) if settings.quick else ()
    named = () if settings.sized else ("--model", NETWORK)  # older versions run a factory unasked
    sized = () if settings.sized else side
    yield Command("train frozen", ("train", NETWORK, *data, *sized, *common, *frozen), "model.pt")
    yield Command("tune", ("tune", out / "model.pt", *data, *named), "tuned.pt")
    for name in ("onnx", "tflite"):
        for precision in ("fp32", "int8"):
            chosen = ("--format", name, "--precision", precision)
            yield Command(
                f"export {name} {precision}",
                (
                    "export",
                    out / "tuned.pt",
                    *named,
                    *chosen,
                    *(("--calibration-data", data[1]) * (precision == "int8")),
                ),
                f"{name}-{precision}.eebundle",
            )
    yield Command("verify", ("verify", out / "onnx-int8.eebundle"), None)
    unstable = () if settings.sized else ("--accept-unstable",)  # unknown to older versions
    timing = ("--threads", 1, *unstable, *quick)
    yield Command("bench", ("bench", out / "onnx-fp32.eebundle", *data, *timing), "bench.json")
    yield Command("tune bundle", ("tune", out / "onnx-int8.eebundle", *data), "tuned.eebundle")
    yield Command("estimate", ("estimate", out / "onnx-fp32.eebundle", "--device", DEVICE), "estimate.json")
    yield Command(
        "estimate --data", ("estimate", out / "onnx-fp32.eebundle", "--device", DEVICE, *data), "estimate-data.json"
    )
    yield Command("advise", ("advise", NETWORK, *data, *side, *given, "--device", DEVICE), "advice.json")
    yield Command("train frozen small", ("train", NETWORK, *data, *small, *common, *frozen), "small.pt")
    members = (out / "small.pt", out / "model.pt")
    yield Command("cascade", ("cascade", *members, *data, *named, "--fit-order"), "cascade.pt")
    for recipe in ("joint", "distill"):
        words = ("train", NETWORK, *part, *sized, *common, "--recipe", recipe, "--epochs", 1)
        yield Command(f"train {recipe}", words, f"{recipe}.pt")


def photographs(settings: Settings) -> str:
    """Return the folder of photographs in FOLDER."""
    return "sized" if settings.sized else "photographs"


def prepare(settings: Settings) -> None:
    """Unpack the photographs, and write the weights that training begins with."""
    for name, limit in (("photographs", settings.limit), ("part", settings.part)):
        unpack(settings.data, settings.out / name, limit=limit)
        if settings.sized:
            target = settings.out / ("sized" if name == "photographs" else f"{name}-sized")
            _in_own_process(resize_all, settings.out / name, target, settings.side)
    start = settings.out / "start.safetensors"
    if not start.exists():
        data = f"folder:{settings.out / 'photographs'}@{settings.side}"
        _in_own_process(write_weights, settings.weights, start, data, settings.threads)


def _in_own_process(function: Any, *arguments: Any) -> None:
    """Run a function in a process of its own: a process that uses much memory starts others that seem to."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(function, *arguments).result()


def write_weights(published: Path, target: Path, data: str, threads: int) -> None:
    """Write published weights below a classifier for the photographs."""
    import torch
    from efficientnet_lite0 import write_start

    torch.set_num_threads(threads)
    write_start(published, target, data, seed=0)


def resize_all(source: Path, target: Path, side: int) -> None:
    """Write the photographs of a folder as PNG of `side` pixels to target/{train,test}/CLASS."""
    from PIL import Image

    from eetool_runtime.image_files import fit_image

    if target.exists():
        return
    unfinished = target.with_name(target.name + ".partial")
    for path in sorted(source.rglob("*.*")):
        split, name = path.relative_to(source).parts[:2]
        place = unfinished / ("test" if split == "test" else "train") / name / f"{split}-{path.stem}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            fit_image(image.convert("RGB"), side, side, "crop").save(place)
    unfinished.rename(target)


def measure(command: Command, settings: Settings) -> dict[str, Any]:
    """Run a command, and return its exit code, times and memory."""
    output = () if command.output is None else ("-o", settings.out / command.output)
    words = [sys.executable, "-m", "eetool", *map(str, (*command.words, *output, *("--force",) * (output != ())))]
    print("+", " ".join(words[2:]), file=sys.stderr)
    begin = time.monotonic()
    child = subprocess.Popen(words, stdout=sys.stderr, cwd=settings.checkout, env=_environment(settings))
    with _MemorySamples(child.pid) as peak:
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return {
        "exit_code": child.returncode,
        "seconds": round(time.monotonic() - begin, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "largest_process_mb": round(usage.ru_maxrss * 1024 / 1e6),
        "all_processes_mb": round(peak.resident_bytes / 1e6),
        "anonymous_mb": round(peak.anonymous_bytes / 1e6),
        "load_at_start": round(peak.load, 2),
    }


def _environment(settings: Settings) -> dict[str, str]:
    root = settings.checkout
    places = [root, root / "runtimes/python", root / "runtimes/measure", HERE]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "EETOOL_CACHE": str(settings.out / "cache"),
        "OMP_NUM_THREADS": str(settings.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


class _MemorySamples:
    """Samples of the memory of a process and its descendants while the block runs."""

    def __init__(self, pid: int) -> None:
        self.pid, self.resident_bytes, self.anonymous_bytes = pid, 0, 0
        self.load, self._done = os.getloadavg()[0], Event()
        self._clock = Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "_MemorySamples":
        self._clock.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._clock.join()

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            memory = [memory_bytes(pid) for pid in descendants(self.pid)]
            self.resident_bytes = max(self.resident_bytes, sum(resident for resident, _ in memory))
            self.anonymous_bytes = max(self.anonymous_bytes, sum(anonymous for _, anonymous in memory))


def descendants(pid: int) -> list[int]:
    """Return a process and all processes below it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:  # it ended meanwhile
                continue
    return found


def memory_bytes(pid: int) -> tuple[int, int]:
    """Return resident memory of a process, and the part of it that no file backs; 0 where it has ended."""
    try:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    except (OSError, ValueError):
        return 0, 0
    return resident * PAGE_BYTES, (resident - shared) * PAGE_BYTES


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout."""
    words = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def run_all(settings: Settings) -> dict[str, Any]:
    """Measure every command that has no result yet, and return the document."""
    file = settings.out / RESULTS
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["commands"] if file.exists() else {}
    chosen = settings.only.split(",") if settings.only else None
    document: dict[str, Any] = {}
    for command in commands(settings):
        if chosen is None or command.name in chosen:
            known = results.get(command.name, {"exit_code": None})["exit_code"] in (0, UNSTABLE)
            if not known or (settings.again and chosen is not None):
                results[command.name] = measure(command, settings)
        document = _document(settings, results)
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


def _document(settings: Settings, results: dict[str, Any]) -> dict[str, Any]:
    return {
        "commit": commit_of(settings.checkout),
        "machine": platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "threads": settings.threads,
        "side": settings.side,
        "epochs": settings.epochs,
        "photographs": sum(1 for _ in (settings.out / photographs(settings)).rglob("*.*")),
        "commands": results,
    }


def main() -> None:
    """Measure the commands and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=None, help="photographs of each class, for a trial")
    parser.add_argument("--part", type=int, default=60, help="photographs of each class for recipes that train it all")
    parser.add_argument("--checkout", type=Path, default=HERE.parent, help="root of the sources to measure")
    parser.add_argument("--sized", action="store_true", help="photographs of the final size, for versions before 0038")
    parser.add_argument("--only", default=None, help="names of commands, separated by commas")
    parser.add_argument("--again", action="store_true", help="with --only: also commands that have a result")
    parser.add_argument("--quick", action="store_true", help="one pass of timing in `bench`, for a trial")
    parser.add_argument("--before", type=Path, default=None, help="FOLDER of another commit, for --tables")
    parser.add_argument("--tables", type=Path, default=None, help="data file of docs/results, written as well")
    options = vars(parser.parse_args())
    before, tables = options.pop("before"), options.pop("tables")
    if (before is None) != (tables is None):
        parser.error("--before and --tables go together")
    if before is not None and not (before / RESULTS).is_file():
        parser.error(f"{before} holds no {RESULTS}; measure the other commit into it first")
    for name in ("data", "weights", "out", "checkout"):
        options[name] = options[name].resolve()
    settings = Settings(**options)
    settings.out.mkdir(parents=True, exist_ok=True)
    prepare(settings)
    document = run_all(settings)
    if tables is not None:
        write_table(json.loads((before / RESULTS).read_text(encoding="utf-8")), document, tables)
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
