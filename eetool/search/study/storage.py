"""The database that holds studies. While it is away it is waited for; where it is broken, the work ends at once."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eetool.errors import ArtefactError, EarlyExitError, MissingError, OutputError, UsageError
from eetool.progress import SILENT, Progress
from eetool.search.study.storage_url import Address
from eetool.workspace import set_aside

T = TypeVar("T")
_POLL_SECONDS = 0.3
_OPENINGS = 4
_LONGEST_PAUSE_SECONDS = 30.0
_KEPT = "Nothing that was stored is lost: --resume goes on."
_COMPANIONS = ("-journal", "-wal", "-shm")  # with which SQLite undoes what a killed process began
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_SQLITE_WORDS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it cannot be written to",
}
_SERVER_WORDS = {
    "53100": "the disk of its server is full",
    "25006": "it cannot be written to",
    "42501": "its user may not write to it",
}


@dataclass(frozen=True)
class HeartbeatSettings:
    """How often a worker says that it lives, after what silence its trial is another's, and for how long a storage
    that does not answer is waited for; in seconds.
    """

    beat: int = 10
    silence: int = 40
    patience: float = 3600.0


PULSE = HeartbeatSettings()


class Storage:
    """A database with studies; operations are repeated while it is away."""

    def __init__(self, url: str, pulse: HeartbeatSettings, progress: Progress = SILENT) -> None:
        try:
            import optuna
            import sqlalchemy.exc
        except ModuleNotFoundError as error:
            raise MissingError(f"the package {error.name} is not installed", 'pip install "eetool[search]"') from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.pulse, self.progress, self.address = pulse, progress, Address(url)
        self._lost: tuple[type[Exception], ...] = (
            *(optuna.exceptions.StorageInternalError, sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError),
            *(sqlalchemy.exc.PendingRollbackError, sqlalchemy.exc.InternalError),
        )
        self._failed = (*self._lost, sqlalchemy.exc.DatabaseError)
        self.database = self._opened()

    def _opened(self) -> Any:
        import sqlalchemy.exc

        address = self.address
        try:
            return self._connected()
        except ImportError as error:
            raise MissingError(
                f"the database of {address} needs a driver: {address.reason(error)}", 'pip install "eetool[search]"'
            ) from None
        except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ValueError, TypeError) as error:
            raise UsageError(
                f"--storage {address}: {address.reason(error)}", "Such as postgresql://user@host/name."
            ) from None
        except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
            raise self._broken(error) or self._closed(error) from None

    def _connected(self) -> Any:
        import optuna
        import sqlalchemy.exc

        options: dict[str, Any] = {"pool_pre_ping": True}
        if self.address.is_sqlite:
            options["connect_args"] = {"timeout": 120}  # several workers of one machine take turns
        for attempt in range(_OPENINGS):
            try:
                storage = optuna.storages.RDBStorage(self.address.full, engine_kwargs=options)
                break
            except sqlalchemy.exc.DBAPIError:  # workers that begin together make the same tables
                if attempt + 1 == _OPENINGS:
                    raise
                time.sleep(_POLL_SECONDS * (attempt + 1))
        if self.address.is_sqlite:
            _take_turns(storage.engine)
        return storage

    def patiently(self, call: Callable[[], T]) -> T:
        """The answer of `call`, repeated while the storage is away.

        Raises:
            OutputError: it cannot be written to, such as on a full disk.
            ArtefactError: it is damaged, or stayed away for longer than the patience.
        """
        since, pause = time.monotonic(), 0.5
        while True:
            try:
                answer = call()
            except self._failed as error:
                if (broken := self._broken(error)) is not None:
                    raise broken from None
                if not isinstance(error, self._lost):
                    raise
                away = time.monotonic() - since
                if away > self.pulse.patience:
                    raise ArtefactError(
                        f"the storage {self.address} has been away for {away:.0f} s: {self.address.reason(error)}",
                        "Bring it back and start the worker again; nothing that was stored is lost.",
                    ) from None
                if pause <= 1:
                    self.progress.note(f"the storage {self.address} does not answer; waiting for it")
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                if pause > 1:
                    self.progress.note(f"the storage {self.address} is back")
                return answer

    def _broken(self, error: BaseException) -> EarlyExitError | None:
        """What to say where waiting does not help; None where the storage is only away."""
        for cause in _causes(error):
            if isinstance(cause, sqlite3.Error) and (code := getattr(cause, "sqlite_errorcode", None)) is not None:
                primary = code & 0xFF
                if primary in _BUSY:
                    return None
                if primary == sqlite3.SQLITE_CANTOPEN:
                    return self._closed(cause)
                if primary in _DAMAGED:
                    return self._damaged(cause)
                return self._unwritable(_SQLITE_WORDS.get(primary, str(cause)))
            state = str(getattr(cause, "sqlstate", None) or "")
            if state in _SERVER_WORDS:
                return self._unwritable(_SERVER_WORDS[state])
            if state.startswith("XX00"):  # internal error, damaged data, damaged index
                return self._damaged(cause)
        return None

    def _closed(self, error: BaseException) -> ArtefactError:
        return ArtefactError(
            f"the storage {self.address} cannot be opened: {self.address.reason(error)}",
            "Does the server run, and the name exist?",
        )

    def _damaged(self, error: BaseException) -> ArtefactError:
        reason = self.address.reason(error)
        return ArtefactError(f"the storage {self.address} is damaged: {reason}", "Move it away to start anew.")

    def _unwritable(self, words: str) -> OutputError:
        return OutputError(f"the storage {self.address}: {words}", _KEPT)


def begun_anew(path: Path) -> AbstractContextManager[None]:
    """Move the study in a SQLite file aside; it comes back where the block fails before a candidate is complete."""
    return set_aside(path, _COMPANIONS, lambda: _has_candidates(path))


def _has_candidates(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM trials WHERE state = 'COMPLETE' LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what was below it: drivers' errors come wrapped by SQLAlchemy, and those by Optuna."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = getattr(seen, "orig", None) or seen.__cause__ or seen.__context__


def _take_turns(engine: Any) -> None:
    """Let every transaction of SQLite lock the database from its beginning.

    Elsewhere a worker locks the row of the trial that it takes; SQLite has no such lock, and two workers that look at
    the same moment would both take it.
    """
    import sqlalchemy

    def leave_begin_to_us(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sqlalchemy.event.listen(engine, "connect", leave_begin_to_us)
    sqlalchemy.event.listen(engine, "begin", begin)
    engine.dispose()
