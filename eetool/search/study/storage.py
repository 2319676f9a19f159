"""Database that holds studies: operations are retried while it is unreachable, and fail at once where it is broken."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eetool.errors import ArtefactError, EarlyExitError, MissingError, OutputError, UsageError
from eetool.progress import SILENT, Progress
from eetool.search.study.storage_proxy import connect_proxy, proxy_reason, proxy_refusal
from eetool.search.study.storage_url import StorageUrl
from eetool.workspace import set_aside

T = TypeVar("T")
_POLL_SECONDS = 0.3
_OPENINGS = 4
_LONGEST_PAUSE_SECONDS = 30.0
_RESUME_HINT = "Nothing stored is lost: --resume continues."
_SIDE_FILES = ("-journal", "-wal", "-shm")  # SQLite undoes transactions of killed processes with them
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_SQLITE_MESSAGES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it cannot be written to",
}
_SERVER_MESSAGES = {
    "53100": "the disk of its server is full",
    "25006": "it cannot be written to",
    "42501": "its user may not write to it",
}


@dataclass(frozen=True)
class HeartbeatSettings:
    """Times of heartbeats and retries.

    Attributes:
        interval_seconds: time between two heartbeats of a worker.
        timeout_seconds: time without a heartbeat after which another worker takes over the candidate.
        retry_seconds: time for which operations on an unreachable storage are retried.
    """

    interval_seconds: int = 10
    timeout_seconds: int = 40
    retry_seconds: float = 3600.0


HEARTBEAT = HeartbeatSettings()


class Storage:
    """A database with studies; operations are retried while it is unreachable.

    Raises:
        MissingError: a package or a driver is not installed.
        UsageError: the URL is not that of a database.
        ArtefactError: the database cannot be opened, or is damaged.
        OutputError: it cannot be written to.
    """

    def __init__(self, url: str, heartbeat: HeartbeatSettings = HEARTBEAT, progress: Progress = SILENT) -> None:
        try:
            import optuna
            import sqlalchemy.exc
        except ModuleNotFoundError as error:
            raise MissingError(f"the package {error.name} is not installed", 'pip install "eetool[search]"') from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.heartbeat, self.progress, self.url = heartbeat, progress, StorageUrl(url)
        self._lost: tuple[type[Exception], ...] = (
            *(optuna.exceptions.StorageInternalError, sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError),
            *(sqlalchemy.exc.PendingRollbackError, sqlalchemy.exc.InternalError),
        )
        self.database = self._open()
        if self.url.is_proxy:
            from grpc import RpcError

            self._lost = (*self._lost, RpcError)
        self._failed = (*self._lost, sqlalchemy.exc.DatabaseError)

    def _open(self) -> Any:
        import sqlalchemy.exc

        url = self.url
        try:
            return connect_proxy(url) if url.is_proxy else self._connect()
        except ImportError as error:
            if url.is_proxy:
                raise MissingError(
                    f"a storage proxy needs the package {error.name}", "pip install grpcio protobuf"
                ) from None
            raise MissingError(
                f"the database of {url} needs a driver: {url.reason(error)}", 'pip install "eetool[search]"'
            ) from None
        except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ValueError, TypeError) as error:
            raise UsageError(f"--storage {url}: {url.reason(error)}", "Such as postgresql://user@host/name.") from None
        except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
            raise self._broken(error) or self._unopened(error) from None

    def _connect(self) -> Any:
        import optuna
        import sqlalchemy.exc

        options: dict[str, Any] = {"pool_pre_ping": True}
        if self.url.is_sqlite:
            options["connect_args"] = {"timeout": 120}  # workers of one machine wait for each other's locks
        for attempt in range(_OPENINGS):
            try:
                storage = optuna.storages.RDBStorage(self.url.full, engine_kwargs=options)
                break
            except sqlalchemy.exc.DBAPIError:  # workers that start together create the same tables
                if attempt + 1 == _OPENINGS:
                    raise
                time.sleep(_POLL_SECONDS * (attempt + 1))
        if self.url.is_sqlite:
            _lock_from_begin(storage.engine)
        return storage

    def with_retry(self, call: Callable[[], T]) -> T:
        """Return the result of `call`, repeated while the storage is unreachable.

        Raises:
            OutputError: it cannot be written to, such as on a full disk.
            ArtefactError: it is damaged, or was unreachable for longer than `retry_seconds`.
        """
        since, pause = time.monotonic(), 0.5
        while True:
            try:
                result = call()
            except self._failed as error:
                if (broken := self._broken(error)) is not None:
                    raise broken from None
                if not isinstance(error, self._lost):
                    raise
                waited = time.monotonic() - since
                if waited > self.heartbeat.retry_seconds:
                    reason = proxy_reason(error) if self.url.is_proxy else self.url.reason(error)
                    raise ArtefactError(
                        f"the storage {self.url} has been unreachable for {waited:.0f} s: {reason}",
                        "Restore it and start the worker again; nothing stored is lost.",
                    ) from None
                if pause <= 1:
                    self.progress.note(f"the storage {self.url} is unreachable; waiting for it")
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                if pause > 1:
                    self.progress.note(f"the storage {self.url} is reachable again")
                return result

    def _broken(self, error: BaseException) -> EarlyExitError | None:
        """Return the error where a retry does not help; None where the storage is only unreachable."""
        for cause in _causes(error):
            if (refusal := proxy_refusal(self.url, cause)) is not None:
                return refusal
            if isinstance(cause, sqlite3.Error) and (code := getattr(cause, "sqlite_errorcode", None)) is not None:
                primary = code & 0xFF
                if primary in _BUSY:
                    return None
                if primary == sqlite3.SQLITE_CANTOPEN:
                    return self._unopened(cause)
                if primary in _DAMAGED:
                    return self._damaged(cause)
                return self._unwritable(_SQLITE_MESSAGES.get(primary, str(cause)))
            state = str(getattr(cause, "sqlstate", None) or "")
            if state in _SERVER_MESSAGES:
                return self._unwritable(_SERVER_MESSAGES[state])
            if state.startswith("XX00"):  # internal error, damaged data, damaged index
                return self._damaged(cause)
        return None

    def _unopened(self, error: BaseException) -> ArtefactError:
        return ArtefactError(
            f"the storage {self.url} cannot be opened: {self.url.reason(error)}",
            "Check that the server runs and that the name exists.",
        )

    def _damaged(self, error: BaseException) -> ArtefactError:
        reason = self.url.reason(error)
        return ArtefactError(f"the storage {self.url} is damaged: {reason}", "Move it away to start again.")

    def _unwritable(self, reason: str) -> OutputError:
        return OutputError(f"the storage {self.url}: {reason}", _RESUME_HINT)


def replaced_study(path: Path) -> AbstractContextManager[None]:
    """Move the study in a SQLite file aside; restore it where the block fails before a candidate is complete."""
    return set_aside(path, _SIDE_FILES, lambda: _has_candidates(path))


def _has_candidates(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM trials WHERE state = 'COMPLETE' LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes: SQLAlchemy wraps errors of drivers, and Optuna wraps those."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = getattr(cause, "orig", None) or cause.__cause__ or cause.__context__


def _lock_from_begin(engine: Any) -> None:
    """Let every transaction of SQLite lock the database when it begins.

    Other databases lock the row of the trial that a worker takes. SQLite has no such lock, so two workers that read at
    the same moment would both take the trial.
    """
    import sqlalchemy

    def disable_implicit_begin(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sqlalchemy.event.listen(engine, "connect", disable_implicit_begin)
    sqlalchemy.event.listen(engine, "begin", begin)
    engine.dispose()
