"""Storages behind Optuna's proxy: a real one in front of SQLite, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eetool.errors import ArtefactError, EarlyExitError, UsageError
from eetool.search.study.storage import HeartbeatSettings, Storage
from eetool.search.study.storage_proxy import connect_proxy
from eetool.search.study.storage_url import StorageUrl
from tests.helpers.fake_work import take_part
from tests.helpers.storage_proxy import free_port, start_proxy

grpc = pytest.importorskip("grpc")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proxy") / "study.db"


@pytest.fixture(scope="module")
def url(database: Path) -> Iterator[str]:
    port = free_port()
    process = start_proxy(f"sqlite:///{database}", port)
    yield f"grpc://127.0.0.1:{port}"
    process.kill()
    process.wait()


def test_study_through_proxy_is_that_of_its_database(url: str, database: Path, tmp_path: Path) -> None:
    expected = take_part(f"sqlite:///{tmp_path / 'alone.db'}", 3)
    assert take_part(url, 3) == expected
    stored = take_part(f"sqlite:///{database}", 3, lambda genome: pytest.fail("it was complete"))
    assert stored == expected


def test_with_retry_proxy_gone_raises_after_retries(url: str) -> None:
    storage = Storage(url, HeartbeatSettings(retry_seconds=0.1))

    def gone() -> None:
        storage.database.close()
        with grpc.insecure_channel(f"127.0.0.1:{free_port()}") as channel:
            channel.unary_unary("/none/none")(b"")

    with pytest.raises(ArtefactError, match=r"unreachable for \d+ s: no connection"):
        storage.with_retry(gone)


@pytest.mark.parametrize(
    "bad",
    [
        "grpc://user:PW12@127.0.0.1:1",
        "grpc://127.0.0.1:1/PW12",
        "grpc://127.0.0.1:1?token=PW12",
        "grpc://PW12",
        "grpc://:1",
    ],
)
def test_storage_url_with_other_parts_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="proxy") as caught:
        Storage(bad)
    assert "W12" not in f"{caught.value.message} {caught.value.hint}" or bad == "grpc://PW12"


def test_connect_proxy_other_grpc_server_is_refused() -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(ArtefactError, match="not a storage proxy"):
            Storage(f"grpc://127.0.0.1:{port}")
    finally:
        server.stop(None).wait()


def test_connect_proxy_nothing_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eetool.search.study.storage_proxy._READY_SECONDS", 0.2)
    with pytest.raises(ArtefactError, match="cannot be opened: no answer"):
        connect_proxy(StorageUrl(f"grpc://127.0.0.1:{free_port()}"))


def test_storage_proxy_without_database_is_refused(url: str, database: Path) -> None:
    """The words of the database, which may hold a password, stay in the proxy's log. The last test of this proxy."""
    take_part(url, 1, name="another")
    database.write_bytes(b"something else\n" * 1000)
    with pytest.raises(EarlyExitError, match="the proxy could not use its database; its log says why"):
        Storage(url)
