"""A server of tails behind a proxy with faults, in a process of its own, so that its work disturbs no measured call.

python -m tests.helpers.faulty_server REPOSITORY grpc|http     (started by `faulty_server`)
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.fault_proxy import Fault, FaultProxy
from tests.helpers.inference_server import Arrays, InferenceServer, Refusal

_ROOT = Path(__file__).parents[2]
_LONG_S = 3.0  # longer than every budget

_LINK: dict[str, Fault] = {
    "delay": Fault(delay_s=_LONG_S),
    "black_hole": Fault(black_hole=True),
    "half_open": Fault(half_open=True),
    "slow_body": Fault(slow_body_s=0.02),
    "garbage": Fault(garbage=True),
    "killed_in_reply": Fault(reset_after=20),
}


def _other_model(model: str, outputs: Arrays) -> tuple[str, Arrays]:
    return f"{model[:-8]}00000000", outputs


def _other_shape(model: str, outputs: Arrays) -> tuple[str, Arrays]:
    return model, {name: array[..., :-1] if array.ndim > 1 else array for name, array in outputs.items()}


def _not_finite(model: str, outputs: Arrays) -> tuple[str, Arrays]:
    return model, {name: np.full_like(array, np.nan) for name, array in outputs.items()}


_ANSWERS: dict[str, Callable[[str, Arrays], tuple[str, Arrays]]] = {
    "wrong_model": _other_model,
    "wrong_shape": _other_shape,
    "not_finite": _not_finite,
}
_FAILED = Refusal(500, "INTERNAL", "out of memory")
FAULTS = (*_LINK, "killed", *_ANSWERS, "server_error")


class FaultyServer:
    """A running server.

    Attributes:
        port: of the proxy on 127.0.0.1.
    """

    def __init__(self, repository: Path, protocol: str) -> None:
        command = [sys.executable, "-m", "tests.helpers.faulty_server", repository, protocol]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT, bufsize=1
        )
        self.port = int(self._answer())

    def set(self, fault: str | None) -> None:
        """Begin a fault, or end it; returns when that is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(fault) + "\n")
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process of the faulty server ended")
        return line

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def faulty_server(repository: Path, protocol: str) -> Iterator[FaultyServer]:
    """Serve a repository over `grpc` or `http`."""
    server = FaultyServer(repository, protocol)
    try:
        yield server
    finally:
        server.close()


def apply(fault: str | None, server: InferenceServer, proxy: FaultProxy) -> None:
    """Begin a fault of link or server, in place of any other; None ends it."""
    server.behaviour.change = _ANSWERS.get(fault or "")
    server.behaviour.refusal = _FAILED if fault == "server_error" else None
    if fault == "killed":  # nobody listens any more, and what was on its way is lost
        proxy.fault = Fault(refuse=True)
        proxy.reset_all()
        return
    ended = proxy.fault
    proxy.fault = _LINK.get(fault or "", Fault())
    if ended != Fault() and fault is None:
        proxy.reset_all()  # bytes that were damaged, withheld or delayed do not reach later calls


def main(repository: str, protocol: str) -> None:
    """Serve until the standard input ends; every line of it is a fault in JSON."""

    def say(text: Any) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    with InferenceServer(Path(repository), protocol) as server, FaultProxy(server.port) as proxy:
        say(proxy.port)
        for line in sys.stdin:
            apply(json.loads(line), server, proxy)
            say("set")


if __name__ == "__main__":
    main(*sys.argv[1:])
