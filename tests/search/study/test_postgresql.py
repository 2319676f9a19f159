"""Several workers on a real PostgreSQL server; skipped where none is installed."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.fake_work import take_part

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TRIALS = 18
_USER = "postgres"  # the server refuses to run as root


def _binaries() -> Path | None:
    """Return the folder of PostgreSQL's server programs, which Debian keeps out of the path."""
    places = [Path(initdb).resolve().parent] if (initdb := shutil.which("initdb")) else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "pg_ctl").exists() and (place / "initdb").exists()), None)


class Server:
    """A PostgreSQL server in its own folder."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.as_user: list[str] = []
        if os.geteuid() == 0:
            self.as_user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"]
            shutil.chown(folder, _USER, _USER)
            for parent in folder.parents:  # only their owner may read pytest's folders
                if parent.stat().st_uid == 0 and parent.is_relative_to("/tmp") and parent != Path("/tmp"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "eetool", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://eetool@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o", options, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self.as_user, str(self.binaries / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg")
    server = Server(binaries, tmp_path_factory.mktemp("postgresql"))
    yield server
    server.stop()


def worker(server: Server, trials: int, seconds: float, log: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join(map(str, (HERE, ROOT, ROOT / "runtimes/python", ROOT / "runtimes/measure")))
    command = [
        sys.executable,
        str(ROOT / "tests/helpers/fake_work.py"),
        server.url,
        str(trials),
        str(seconds),
        str(log),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": path}, **pipes)  # type: ignore[call-overload,no-any-return]


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_three_workers_one_killed_find_same_candidates(server: Server, tmp_path: Path) -> None:
    expected = [c.id for c in take_part(f"sqlite:///{tmp_path / 'alone.db'}", TRIALS)]
    logs = [tmp_path / f"worker{i}" for i in range(3)]
    workers = [worker(server, TRIALS, 0.4, log) for log in logs]
    try:
        while not lines(logs[0]):  # until it has a candidate
            time.sleep(0.05)
            assert workers[0].poll() is None, workers[0].communicate()
        workers[0].kill()
        outputs = [process.communicate() for process in workers[1:]]
    finally:
        for process in workers:
            process.kill()
            process.communicate()
    assert [process.returncode for process in workers[1:]] == [0, 0], "\n".join(errors for _, errors in outputs)
    assert [out.split() for out, _ in outputs] == [expected] * 2
    counts = Counter(line for log in logs for line in lines(log))
    lost = lines(logs[0])[-1]
    assert set(counts) == set(expected)
    assert counts.pop(lost) == 2  # by the worker that was killed, and by the one that repeated it
    assert set(counts.values()) == {1}


def test_worker_server_restart_continues(server: Server, tmp_path: Path) -> None:
    expected = [c.id for c in take_part(f"sqlite:///{tmp_path / 'alone.db'}", TRIALS)]
    log = tmp_path / "worker"
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE second")
    server_url = server.url
    process = worker(_At(f"{server_url.rpartition('/')[0]}/second"), TRIALS, 0.3, log)  # type: ignore[arg-type]
    try:
        while len(lines(log)) < 3:
            time.sleep(0.05)
            assert process.poll() is None, process.communicate()
        server.stop()
        time.sleep(1.0)
        server.start()
        out, errors = process.communicate()
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, errors
    assert out.split() == expected


class _At:
    """A server's address."""

    def __init__(self, url: str) -> None:
        self.url = url
