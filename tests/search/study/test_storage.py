"""Storages: retries while unreachable, errors where broken, and no password in a message."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy

from eetool.errors import ArtefactError, EarlyExitError, OutputError, UsageError
from eetool.search.study.storage import HeartbeatSettings, Storage, replaced_study
from eetool.search.study.study import Study
from tests.helpers.fake_work import HEARTBEAT, SETTINGS, SPACE, take_part


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def test_with_retry_unreachable_storage_waits_then_raises(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    storage, notes = Storage(f"sqlite:///{path}", HEARTBEAT), list[str]()
    monkeypatch.setattr(storage, "progress", _Notes(notes))
    answers = iter([False, False, True])

    def answer() -> str:
        if not next(answers):
            raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))
        return "back"

    assert storage.with_retry(answer) == "back"
    assert "is unreachable" in notes[0]
    assert "is reachable again" in notes[-1]

    def gone() -> None:
        raise OperationalError("SELECT 1", {}, Exception("server closed the connection"))

    storage.heartbeat = HeartbeatSettings(retry_seconds=0.1)
    with pytest.raises(ArtefactError, match="has been unreachable"):
        storage.with_retry(gone)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ("nonsense", UsageError, "not the URL of a database"),
        ("nosuch://host/x", UsageError, "nosuch"),
        ("sqlite:////no/such/folder/x.db", ArtefactError, "cannot be opened"),
        ("postgresql://user:secret@127.0.0.1:1/x", ArtefactError, r"user:\*\*\*@127"),
    ],
)
def test_storage_invalid_url_is_refused(bad: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        Storage(bad, HEARTBEAT)
    assert "secret" not in str(caught.value)


def _set(pragma: str) -> Callable[[Any, Path], None]:
    """Return an attack after which every new connection sets a pragma."""

    def attack(storage: Any, path: Path) -> None:
        sqlalchemy.event.listen(storage.database.engine, "connect", lambda db, _: db.execute(f"PRAGMA {pragma}"))
        storage.database.engine.dispose()

    return attack


def _full(storage: Any, path: Path) -> None:
    with sqlite3.connect(path) as database:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.close()
    _set(f"max_page_count={pages}")(storage, path)


def _malformed(storage: Any, path: Path) -> None:
    storage.database.engine.dispose()
    data = path.read_bytes()
    path.write_bytes(data[:1024] + b"\xff" * (len(data) - 1024))


def _another_file(storage: Any, path: Path) -> None:
    storage.database.engine.dispose()
    path.write_bytes(b"something else\n" * 1000)


@pytest.mark.parametrize(
    ("attack", "error", "words"),
    [
        (_full, OutputError, "study.db: the disk is full"),
        (_set("query_only=1"), OutputError, "study.db: it cannot be written to"),
        (_malformed, ArtefactError, "study.db is damaged: database disk image is malformed"),
        (_another_file, ArtefactError, "study.db is damaged: file is not a database"),
    ],
)
def test_study_broken_storage_ends_work_at_once(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    attack: Callable[[Any, Path], None],
    error: type[EarlyExitError],
    words: str,
) -> None:
    url, notes = f"sqlite:///{path}", list[str]()
    take_part(url, 3)
    storage = Storage(url, HEARTBEAT)
    monkeypatch.setattr(storage, "progress", _Notes(notes))
    study = Study(storage, "shared", SPACE, SETTINGS)
    attack(storage, path)
    with pytest.raises(error, match=words):
        _fill(study)
    assert notes == []


def _fill(study: Study) -> None:
    """Queue trials until the pages of the file are full."""
    for slot in range(3, 200):
        study._enqueue(slot, SPACE.sample(np.random.default_rng(slot)))


def test_storage_full_disk_raises_output_error(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(100_000))
    with pytest.raises(OutputError, match="the disk is full"):
        Storage(f"sqlite:///{small_disk / 'study.db'}", HEARTBEAT)


def test_with_retry_locked_storage_is_not_damage(path: Path) -> None:
    """A lock counts as unreachable, not as damage."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY  # as the module itself sets it
    storage = Storage(f"sqlite:///{path}", HeartbeatSettings(retry_seconds=0.1))

    def locked() -> None:
        raise sqlalchemy.exc.OperationalError("BEGIN IMMEDIATE", {}, error)

    with pytest.raises(ArtefactError, match="has been unreachable"):
        storage.with_retry(locked)


class _ServerError(Exception):
    sqlstate: str | None = None


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("53100", OutputError, "the disk of its server is full"),
        ("25006", OutputError, "it cannot be written to"),
        ("42501", OutputError, "may not write"),
        ("XX001", ArtefactError, "is damaged"),
        ("57P01", ArtefactError, "has been unreachable"),
        (None, ArtefactError, "has been unreachable"),
    ],
)
def test_with_retry_server_state_separates_lost_from_broken(
    path: Path, state: str | None, error: type[EarlyExitError], words: str
) -> None:
    storage, cause = Storage(f"sqlite:///{path}", HeartbeatSettings(retry_seconds=0.1)), _ServerError("message")
    cause.sqlstate = state

    def fail() -> None:
        raise sqlalchemy.exc.OperationalError("INSERT", {}, cause)

    with pytest.raises(error, match=words):
        storage.with_retry(fail)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:PW12@127.0.0.1:1/x",
        "postgresql://127.0.0.1:1/x?password=PW12",
        "postgresql://127.0.0.1:1/x?passwort=PW12",
        "postgresql://127.0.0.1:1/x?options=-c%20secret%3DPW12",
        "postgresql://user:a/PW12@127.0.0.1:1/x",
        "postgresql://us/er:PW12@127.0.0.1:1/x",
        "postgresql://user:a@PW12@127.0.0.1:1/x",
        "postgresql://user%3APW12@127.0.0.1:1/x",
        "postgresql://user:%50W12@127.0.0.1:1/x",
        "postgresql://127.0.0.1:1/user:PW12@x",
        "postgresql://user:PW12",
        "postgresql://user:a@127.0.0.1:PW12/x",
        "postgresql:/user:PW12@127.0.0.1:1/x",
        "postgresql//user:PW12@127.0.0.1:1/x",
        "nosuch://user:PW12@127.0.0.1/x",
        "mysql://user:PW12@127.0.0.1/x",
        "sqlite://user:PW12@/x.db",
    ],
)
def test_storage_error_hides_password_in_any_place(url: str) -> None:
    with pytest.raises(EarlyExitError) as caught:
        Storage(url, HEARTBEAT)
    assert "W12" not in f"{caught.value.message} {caught.value.hint}"
    assert "storage" in caught.value.message or "database" in caught.value.message


class TestReplacedStudy:
    def test_failure_before_first_candidate_restores_old_study(self, path: Path) -> None:
        before = take_part(f"sqlite:///{path}", 3)

        def typo(genome: object) -> None:
            raise KeyError

        with pytest.raises(KeyError), replaced_study(path):
            take_part(f"sqlite:///{path}", 3, typo)
        assert take_part(f"sqlite:///{path}", 3, lambda genome: pytest.fail("it was complete")) == before
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_failure_after_first_candidate_keeps_new_study(self, path: Path) -> None:
        take_part(f"sqlite:///{path}", 3)
        with pytest.raises(KeyError), replaced_study(path):  # noqa: PT012
            take_part(f"sqlite:///{path}", 1, name="new")
            raise KeyError
        with sqlite3.connect(path) as database:
            names = database.execute("SELECT study_name FROM studies").fetchall()
        database.close()
        assert names == [("new",)]
        assert [p.name for p in path.parent.iterdir()] == [path.name]


class _Notes:
    """A progress that keeps its notes."""

    def __init__(self, lines: list[str]) -> None:
        self.note: Callable[[str], None] = lines.append
