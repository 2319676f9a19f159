"""Commands of `eetool` in a folder of results: what a command printed is kept, and it is not run again."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
UNSTABLE = 7  # exit code of a measurement on a busy machine, whose document is written all the same


@dataclass(frozen=True)
class Step:
    """A command that has run.

    Attributes:
        command: as it is typed in the folder.
        code: its exit code.
        seconds: of wall-clock time.
        peak_mb: largest resident memory, in megabytes.
        document: the JSON document that it printed.
        notes: the lines that it wrote beside it, such as warnings.
    """

    command: str
    code: int
    seconds: float
    peak_mb: float
    document: dict[str, Any]
    notes: list[str]


class Folder:
    """A folder in which commands run; each output is named without its folder.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, *arguments: object, codes: Collection[int] = (0,)) -> Step:
        """Return the step `name`; run `eetool arguments` for it unless it has been run.

        Raises:
            subprocess.CalledProcessError: the exit code is none of `codes`.
        """
        kept = self.path / f"{name}.step.json"
        if kept.exists():
            return Step(**json.loads(kept.read_text(encoding="utf-8")))
        step = self._run([*map(str, arguments), "--json"])
        if step.code not in codes:
            print(json.dumps(step.document.get("error")), file=sys.stderr)
            raise subprocess.CalledProcessError(step.code, step.command)
        unfinished = kept.with_suffix(".partial")
        unfinished.write_text(json.dumps(asdict(step), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        unfinished.rename(kept)
        return step

    def make(self, output: str, verb: str, *arguments: object, codes: Collection[int] = (0,)) -> Step:
        """Return the step that writes `output`; an interrupted training resumes."""
        again = "--resume" if (self.path / f"{output}.resume").exists() else "--force"
        return self.run(output, verb, *arguments, "-o", output, again, codes=codes)

    def _run(self, arguments: list[str]) -> Step:
        command = shlex.join(["eetool", *arguments])
        print(f"+ {self.path.name}: {command}", file=sys.stderr, flush=True)
        places = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": places}
        start = time.perf_counter()
        with tempfile.TemporaryFile("w+", encoding="utf-8") as printed, tempfile.TemporaryFile("w+") as said:
            started = [sys.executable, "-m", "eetool", *arguments]
            process = subprocess.Popen(started, cwd=self.path, env=environment, stdout=printed, stderr=said)
            _, status, usage = os.wait4(process.pid, 0)  # also the memory of this one process
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - start
            printed.seek(0)
            said.seek(0)
            text, notes = printed.read(), said.read().splitlines()
        print(*notes, sep="\n", file=sys.stderr, flush=True)
        peak_mb = round(usage.ru_maxrss / 1024)  # kilobytes on Linux
        return Step(command, process.returncode, round(seconds, 2), peak_mb, json.loads(text or "{}"), notes)
