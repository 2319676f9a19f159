"""Several workers on a real PostgreSQL server; skipped where none is installed."""

import multiprocessing
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import fake_work
from tests.helpers.fake_work import take_part
from tests.helpers.storage_proxy import free_port, start_proxy

TRIALS = 12
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
        self.port = free_port()
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
        with (self.folder / "output").open("w+") as output:  # a pipe would stay open in the server
            done = subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT, cwd=self.folder)
            output.seek(0)
            assert done.returncode == 0, f"{program} {arguments}: {output.read()}{self._log()}"

    def _log(self) -> str:
        path = self.folder / "log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-20:]) if path.exists() else ""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg")
    server = Server(binaries, tmp_path_factory.mktemp("postgresql"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def start_worker() -> Callable[..., Any]:
    """`start_worker(url, seconds, log)` is a process that takes part; all are forks of one that has the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([fake_work.__name__])

    def start(url: str, seconds: float, log: Path) -> Any:
        process = context.Process(target=fake_work.work, args=(url, TRIALS, seconds, log))
        process.start()
        return process

    return start


def found(log: Path) -> list[str]:
    return fake_work.found_by(log).read_text().split()


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_three_workers_one_killed_find_same_candidates(
    server: Server, start_worker: Callable[..., Any], tmp_path: Path
) -> None:
    expected = [c.id for c in take_part(f"sqlite:///{tmp_path / 'alone.db'}", TRIALS)]
    logs = [tmp_path / f"worker{i}" for i in range(3)]
    workers = [start_worker(server.url, 0.4, log) for log in logs]
    try:
        while not lines(logs[0]):  # until it has a candidate
            time.sleep(0.05)
            assert workers[0].is_alive()
        workers[0].kill()
        for process in workers:
            process.join()
    finally:
        for process in workers:
            process.kill()
    assert [process.exitcode for process in workers[1:]] == [0, 0]
    assert [found(log) for log in logs[1:]] == [expected] * 2
    counts = Counter(line for log in logs for line in lines(log))
    lost = lines(logs[0])[-1]
    assert set(counts) == set(expected)
    assert counts.pop(lost) == 2  # by the worker that was killed, and by the one that repeated it
    assert set(counts.values()) == {1}


def test_worker_server_restart_continues(server: Server, start_worker: Callable[..., Any], tmp_path: Path) -> None:
    expected = [c.id for c in take_part(f"sqlite:///{tmp_path / 'alone.db'}", TRIALS)]
    log = tmp_path / "worker"
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE second")
    process = start_worker(f"{server.url.rpartition('/')[0]}/second", 0.3, log)
    try:
        while len(lines(log)) < 3:
            time.sleep(0.05)
            assert process.is_alive()
        server.stop()
        time.sleep(1.0)
        server.start()
        process.join()
    finally:
        process.kill()
    assert process.exitcode == 0
    assert found(log) == expected


def test_two_workers_through_storage_proxy_find_same_candidates(
    server: Server, start_worker: Callable[..., Any], tmp_path: Path
) -> None:
    """The proxy is stopped meanwhile and started again; its workers wait for it."""
    pytest.importorskip("grpc")
    import psycopg

    expected = [c.id for c in take_part(f"sqlite:///{tmp_path / 'alone.db'}", TRIALS)]
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE third")
    database = f"{server.url.rpartition('/')[0]}/third".replace("postgresql:", "postgresql+psycopg:")
    port, logs = free_port(), [tmp_path / f"worker{i}" for i in range(2)]
    proxy = start_proxy(database, port)
    workers = [start_worker(f"grpc://127.0.0.1:{port}", 0.3, log) for log in logs]
    try:
        while not all(map(lines, logs)):
            time.sleep(0.05)
            assert all(worker.is_alive() for worker in workers)
        proxy.kill()
        proxy.wait()
        proxy = start_proxy(database, port)
        for worker in workers:
            worker.join()
    finally:
        for process in (*workers, proxy):
            process.kill()
        proxy.wait()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [found(log) for log in logs] == [expected] * 2
