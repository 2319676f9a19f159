"""Program that kills commands at random moments: outputs stay whole, and the next run leaves nothing over.

    python -m tests.attacks.kill_commands --kills 50

Every second kill comes after a random time, every other at a random file system operation, where files are half
written. Every second run has an old output and --force. After each kill, the output is whole, or absent where there
was none before. After every tenth, a run completes and only its expected files remain. With --at-output every command
is first killed once where its output is written, before it takes its name or right after. The program prints one JSON
document, and on stderr a line after every tenth kill. It exits with 1 after any other outcome.
"""

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a forked child has no other threads than its own

from eetool import records
from eetool.cli.app import main as eetool
from eetool.model.checkpoint import load_checkpoint, load_tensors
from eetool.search.search_results import read_front
from eetool.search.supernet_training import FORMAT
from eetool.search.supernet_training import RESUME_FORMAT as SUPERNET_RESUME
from eetool.train.training_loop import RESUME_FORMAT
from eetool_runtime import load

_POLL_SECONDS = 0.005
_MOST_TRIES = 3  # for every kill, since some runs end before theirs
_KILLS_BETWEEN = 10  # runs that are let end
_LOADED = ("onnx", "onnxruntime", "optuna.storages", "sqlalchemy.dialects.sqlite", "torch.onnx", "torch._dynamo")
_OURS = (
    *("eetool.train.pipeline", "eetool.tune.fit_policy", "eetool.export.bundle_export", "eetool.search.search"),
    *("eetool.search.study.storage", "eetool.report.page"),
)
_STEPS = {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.scandir"}
_TRAINED = "resnet8 --data digits --exits 1 --branch linear --batch-size 256"
_SEARCH = "--trials 3 --supernet-epochs 1 --batch-size 64 --examples 64 --epochs 1 --algorithm random"


@dataclass(frozen=True)
class Command:
    """A command, its output files, and a check of each; the main output comes first."""

    arguments: Sequence[str]
    checks: dict[str, Callable[[Path], object]]
    passing: tuple[str, ...] = ()  # files that an interrupted run is resumed from, and a whole one may leave
    left: tuple[str, ...] = ()  # of those, what a whole run leaves

    @property
    def output(self) -> str:
        return next(iter(self.checks))


def _ends(*endings: bytes) -> Callable[[Path], object]:
    def check(path: Path) -> None:
        if not path.read_bytes().rstrip().endswith(endings):
            raise ValueError("it has no end")

    return check


def _drawn(folder: Path) -> None:
    for path in (path for path in folder.iterdir() if path.is_file()):
        _ends(b"</svg>", b"IEND\xaeB`\x82")(path)


def _study(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise ValueError("the database is damaged")


def _tuned(path: Path) -> None:
    if load_checkpoint(path).record.policy is None:
        raise ValueError("it is not tuned")


def commands(model: Path, tuned: Path, bundle: Path) -> dict[str, Command]:
    """Return the commands to kill, which read prepared inputs."""
    front = "search.front.json"
    supernet, study = f"{front}.supernet.pt", f"{front}.study.db"
    return {
        "train": Command(
            f"train {_TRAINED} --epochs 2 -o {model.name}".split(),
            {model.name: load_checkpoint, f"{model.name}.resume": lambda path: load_tensors(path, RESUME_FORMAT)},
            (f"{model.name}.resume",),
        ),
        "tune": Command(["tune", str(model), "--data", "digits", "-o", "tuned.pt"], {"tuned.pt": _tuned}),
        "export": Command(["export", str(tuned), "--no-reference", "-o", "made.eebundle"], {"made.eebundle": load}),
        "search": Command(
            f"search --space tests.helpers.small_spaces:mobile --data digits {_SEARCH} -o {front}".split(),
            {
                front: read_front,
                supernet: lambda path: load_tensors(path, FORMAT),
                f"{supernet}.resume": lambda path: load_tensors(path, SUPERNET_RESUME),
                study: _study,
            },
            (study,),
            (supernet, study),
        ),
        "report": Command(
            ["report", str(bundle), "-o", "report.html", "--figures", "figures"],
            {"report.html": _ends(b"</html>"), "figures": _drawn},
            left=("figures",),
        ),
    }


@dataclass(frozen=True)
class Moment:
    """The moment at which a file that is written takes its name, or the one right after."""

    output: Path
    after: bool


def run(
    arguments: Sequence[str],
    folder: Path,
    seconds: float | None = None,
    steps: int | None = None,
    moment: Moment | None = None,
) -> int:
    """Run a command in a child, and return its exit code.

    The child is killed after some seconds, after some file system operations, or at a moment of its output.
    """
    child = os.fork()
    if child == 0:
        _be_the_command(arguments, folder, steps, moment)
    ends = None if seconds is None else time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, 0 if ends is None else os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if ends is not None and time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)  # it is not waited for yet, so the number is still its own
            ends = None
        time.sleep(_POLL_SECONDS)


def _be_the_command(arguments: Sequence[str], folder: Path, steps: int | None, moment: Moment | None) -> None:
    code = 70
    try:
        os.chdir(folder)
        with (folder.parent / "output").open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        counted = _count_steps(str(folder), steps)
        if moment is not None:
            _kill_at(moment)
        try:
            eetool(list(arguments))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        (folder.parent / "steps").write_text(str(counted[0]))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _count_steps(folder: str, last: int | None) -> list[int]:
    """Count the file system operations in `folder`; at the last one the process kills itself."""
    counted = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STEPS and arguments and str(arguments[0]).startswith(folder):
            counted[0] += 1
            if counted[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return counted


def _kill_at(moment: Moment) -> None:
    """Let this process kill itself at a moment of its output."""
    publish = records._publish

    def kill_or_publish(new: Path, path: Path, *rest: Any, **options: Any) -> None:
        for after in (False, True):
            if after:
                publish(new, path, *rest, **options)
            if moment == Moment(path.absolute(), after):
                os.kill(os.getpid(), signal.SIGKILL)

    records._publish = kill_or_publish


@dataclass
class Attack:
    """One command under attack, in its own folder."""

    command: Command
    folder: Path
    rng: random.Random
    seconds: float = 0.0
    steps: int = 0
    tries: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("killed", "ended", "whole_runs"), 0))
    faults: list[str] = field(default_factory=list)

    def go(self, kills: int) -> None:
        """Kill further runs, and let one complete."""
        if not self.tries:
            self.complete_run("at first")  # to measure its duration
        wanted, last = self.counts["killed"] + kills, self.tries + _MOST_TRIES * kills
        while self.counts["killed"] < wanted and self.tries < last:
            self.kill(self.tries)
            self.tries += 1
        self.complete_run(f"after kill {self.tries - 1}")

    def kill_at_output(self, after: bool) -> None:
        """Kill a first run where its output is written, and let one complete."""
        output = self.folder / self.command.output
        where = f"a kill {'after' if after else 'before'} {output.name} has its name"
        if (code := run(self.command.arguments, self.folder, moment=Moment(output, after))) != -signal.SIGKILL:
            self.faults.append(f"{where}: ended with {code}: {(self.folder.parent / 'output').read_text()[-300:]}")
        if output.exists() != after:
            self.faults.append(f"{where}: the output is {'gone' if after else 'there'}")
        self.counts["killed"] += 1
        self.check_outputs(where)
        self.complete_run(f"after {where}")

    def kill(self, number: int) -> None:
        """Run and kill once, and check the files."""
        forced = number // 2 % 2 == 1
        output = self.folder / self.command.output
        options = ["--force"] if forced else self.resume_options()
        existed = os.path.lexists(output)
        arguments = [*self.command.arguments, *options]
        if number % 2:
            code = run(arguments, self.folder, steps=self.rng.randint(1, max(self.steps, 1)))
        else:
            code = run(arguments, self.folder, seconds=self.rng.uniform(0, self.seconds))
            self.seconds *= 1.0 if code else 0.8  # what it takes when nothing is loaded for the first time
        where = f"kill {number} of {' '.join(arguments)}"
        if code not in (0, -signal.SIGKILL):
            self.faults.append(f"{where}: ended with {code}: {(self.folder.parent / 'output').read_text()[-300:]}")
        self.counts["killed" if code else "ended"] += 1
        if (existed or code == 0) and not output.exists():
            self.faults.append(f"{where}: the output is gone")
        self.check_outputs(where)

    def resume_options(self) -> list[str]:
        """Return options for a run without --force: there is no output, but perhaps files of an interrupted run."""
        resumed = any((self.folder / name).exists() for name in self.command.passing)
        for name in self.command.checks:
            if name not in self.command.passing and (name == self.command.output or not resumed):
                _remove(self.folder / name)
        return ["--resume"] if resumed else []

    def check_outputs(self, where: str) -> None:
        """Check that every output file is whole."""
        for name, check in self.command.checks.items():
            path = self.folder / name
            if path.exists():
                try:
                    check(path)
                except Exception as error:
                    self.faults.append(f"{where}: {name} is torn: {type(error).__name__}: {error}")

    def complete_run(self, where: str) -> None:
        """Complete one run and check that it leaves no other files."""
        begin = time.monotonic()
        code = run([*self.command.arguments, "--force"], self.folder)
        self.seconds = max(self.seconds, time.monotonic() - begin)
        self.counts["whole_runs"] += 1
        if code != 0:
            self.faults.append(f"{where}: ended with {code}: {(self.folder.parent / 'output').read_text()[-300:]}")
            return
        self.steps = max(self.steps, int((self.folder.parent / "steps").read_text()))
        self.check_outputs(where)
        actual = {path.name for path in self.folder.iterdir()} ^ {self.command.output, *self.command.left}
        actual |= {str(path) for path in self.folder.rglob(".*")}
        actual |= {
            path.name for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith((".eetool", "tmp"))
        }
        if actual:
            self.faults.append(f"{where}: left over or missing: {sorted(actual)}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def prepare(folder: Path) -> dict[str, Command]:
    """Return the commands, with inputs that are made for them."""
    model, tuned, bundle = folder / "model.pt", folder / "in.pt", folder / "in.eebundle"
    produced = (
        f"train {_TRAINED} --epochs 1 -o {model}",
        f"tune {model} --data digits -o {tuned}",
        f"export {tuned} -o {bundle}",
    )
    for line in produced:
        if run(line.split(), folder) != 0:
            sys.exit((folder.parent / "output").read_text())
    return commands(model, tuned, bundle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="this command; repeatable")
    parser.add_argument("--at-output", action="store_true", help="first kill every command at its output")
    parser.add_argument(
        "--inputs", type=Path, nargs=3, metavar=("MODEL", "TUNED", "BUNDLE"), help="instead of new ones"
    )
    options = parser.parse_args()
    document: dict[str, Any] = {"seed": options.seed}
    for module in (*_LOADED, *_OURS):
        importlib.import_module(module)  # once, and not in every child
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        temporary = base / "tmp"
        for folder in (temporary, base / "inputs"):
            folder.mkdir()
        tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
        attacked = commands(*options.inputs) if options.inputs else prepare(base / "inputs")
        attacks = {
            verb: Attack(command, base / verb, random.Random(f"{options.seed} {verb}"))
            for verb, command in attacked.items()
            if options.at_output or verb in (options.only or [verb])
        }
        for number, (verb, attack) in enumerate(attacks.items()):
            attack.folder.mkdir()
            if options.at_output:
                attack.kill_at_output(after=number % 2 == 1)
                document[verb] = {**attack.counts, "faults": attack.faults}
        for done in range(0, options.kills, _KILLS_BETWEEN):
            for verb, attack in attacks.items():
                if verb not in (options.only or [verb]):
                    continue
                attack.go(min(_KILLS_BETWEEN, options.kills - done))
                document[verb] = {**attack.counts, "steps": attack.steps, "faults": attack.faults}
                sys.stderr.write(json.dumps({verb: document[verb]}) + "\n")
        tempfile.tempdir = None
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(any(actual["faults"] for actual in document.values() if isinstance(actual, dict)))


if __name__ == "__main__":
    main()
