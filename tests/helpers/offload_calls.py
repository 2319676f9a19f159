"""Calls of an offloading model in a process of its own, such as inside a network namespace.

    python -m tests.helpers.offload_calls BUNDLE URL TIMEOUT_MS     (started by `Caller`)

Every line of the standard input is a number of calls, or `up` to wait for the link; every answer is a line of JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.helpers.tiny_bundle import IMAGES, image

_ROOT = Path(__file__).parents[2]
_UP_SECONDS = 20.0


class Caller:
    """A process that loads a bundle with a server, and calls it."""

    def __init__(
        self, bundle: Path, url: str, timeout_ms: float, wrap: Callable[[Sequence[str]], Sequence[str]] = list
    ) -> None:
        """Start the process; `wrap` puts its command into another, such as one that enters a namespace."""
        command = [sys.executable, "-m", "tests.helpers.offload_calls", str(bundle), url, str(timeout_ms)]
        self._process = subprocess.Popen(
            wrap(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT, bufsize=1
        )

    def call(self, calls: int) -> list[dict[str, Any]]:
        """Call the model with its images in turn; return `where`, `offload` and `is_right` of every result."""
        results: list[dict[str, Any]] = self._ask(str(calls))
        return results

    def wait_until_up(self) -> bool:
        """Wait until the link is up; return whether it is."""
        return bool(self._ask("up"))

    def stats(self) -> dict[str, Any]:
        """Return the statistics of the link."""
        figures: dict[str, Any] = self._ask("stats")
        return figures

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        answer = self._process.stdout.readline()
        assert answer, "the process of the calls ended"
        return json.loads(answer)


def main(bundle: str, url: str, timeout_ms: str) -> None:
    """Call until the standard input ends."""
    import eetool_runtime as ee
    from eetool_runtime.offload import Offload
    from eetool_runtime.offload.model import OffloadingModel

    local = ee.load(bundle)
    model = ee.load(bundle, offload=Offload(url, timeout_ms=float(timeout_ms)))
    assert isinstance(model, OffloadingModel)
    inputs = [image(*pair) for pair in IMAGES]
    expected = [local(x) for x in inputs]

    def call(number: int) -> dict[str, Any]:
        result, wanted = model(inputs[number % len(inputs)]), expected[number % len(inputs)]
        is_right = (result.exit, result.index) == (wanted.exit, wanted.index)
        return {"where": result.where, "offload": result.offload, "is_right": is_right}

    for line in map(str.strip, sys.stdin):
        if line == "up":
            end = time.monotonic() + _UP_SECONDS
            while not model.link_is_up and time.monotonic() < end:
                time.sleep(0.02)
            answer: Any = model.link_is_up
        elif line == "stats":
            answer = model.stats()["offload"]
        else:
            answer = [call(number) for number in range(int(line))]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
