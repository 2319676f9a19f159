"""Downloads, from a local server that fails as the test requests."""

import gc
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.data.readers import download
from eetool.data.readers.download import Archive, fetch
from eetool.data.registry import is_local, load_source
from eetool.errors import ArtefactError, MissingError
from eetool.progress import SILENT

pytest.importorskip("pooch")
# pooch leaves the socket of a failed transfer to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

FOLDER = "cifar-10-batches-bin"


def archive_bytes(extra: str | None = None) -> bytes:
    """Return a tar archive of CIFAR-10 with 20 images per file."""
    random = np.random.default_rng(0)
    files = {f"data_batch_{i}.bin": images(random) for i in range(1, 6)}
    files |= {"test_batch.bin": images(random), "batches.meta.txt": b"\n".join(b"class%d" % i for i in range(10))}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if extra is not None:
            archive.addfile(tarfile.TarInfo(extra))
    return buffer.getvalue()


def images(random: np.random.Generator) -> bytes:
    records = random.integers(0, 256, (20, 3073), np.uint8)
    records[:, 0] = np.arange(20) % 10
    return records.tobytes()


class Server:
    """Server of the first `sent` bytes of `data` at every address, with the response code `status`."""

    def __init__(self, data: bytes) -> None:
        self.data, self.status, self.sent, self.requests = data, 200, len(data), 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests += 1
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(server.data)))
                self.end_headers()
                self.wfile.write(server.data[: server.sent])

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/cifar-10-binary.tar.gz"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A working server, registered as the official one."""
    served = Server(archive_bytes())
    threading.Thread(target=served.http.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(download.CACHE, str(tmp_path / "cache"))
    monkeypatch.setitem(download.OFFICIAL, "cifar10", (archive(served),))
    yield served
    served.http.shutdown()
    served.http.server_close()
    gc.collect()


def archive(served: Server) -> Archive:
    return Archive(served.url, hashlib.md5(served.data).hexdigest(), FOLDER)


def test_load_source_without_folder_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    assert not is_local("cifar10")
    source = load_source("cifar10")
    assert (source.name, source.inputs.shape, source.official_test) == ("cifar10", (120, 3, 32, 32), 20)
    assert is_local("cifar10")
    assert np.array_equal(load_source("cifar10").inputs, source.inputs)
    assert server.requests == 1
    assert [path.name for path in (tmp_path / "cache/cifar10").iterdir()] == [FOLDER], "the archive is gone"


def test_fetch_progress_counts_the_bytes(server: Server, tmp_path: Path) -> None:
    class Counted:
        begun: tuple[str, int] = ("", 0)
        steps = 0

        def __call__(self, what: str, total: int) -> Any:
            self.begun = (what, total)
            return self

        def __enter__(self) -> Any:
            return self.count

        def __exit__(self, *_: object) -> None:
            pass

        def count(self, steps: int) -> None:
            self.steps += steps

        note = SILENT.note

    counted = Counted()
    fetch(archive(server), tmp_path, counted)
    assert counted.begun == ("downloading cifar-10-binary.tar.gz", len(server.data))
    assert counted.steps == len(server.data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sent": 1000}, "could not be downloaded"),
        ({"sent": 0}, "could not be downloaded"),
        ({"status": 404}, "404"),
        ({"data": b"another file"}, "not the official file"),
    ],
    ids=["interrupted", "empty", "not found", "another file"],
)
def test_fetch_failed_download_leaves_nothing_and_can_be_repeated(
    server: Server, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    good = vars(server).copy()
    wanted = archive(server)
    vars(server).update(change)
    with pytest.raises(ArtefactError, match=words) as refused:
        fetch(wanted, tmp_path / "here")
    assert "cifar10:DIR" in (refused.value.hint or "")
    assert not [path for path in (tmp_path / "here").rglob("*") if path.is_file()]
    vars(server).update({name: good[name] for name in change})
    assert (fetch(wanted, tmp_path / "here") / "test_batch.bin").is_file()


def test_fetch_unreachable_server_raises_artefact_error(tmp_path: Path, server: Server) -> None:
    wanted = archive(server)
    server.http.server_close()
    with pytest.raises(ArtefactError, match="could not be downloaded"):
        fetch(wanted, tmp_path)


def test_fetch_archive_with_outside_path_raises_artefact_error(server: Server, tmp_path: Path) -> None:
    server.data = archive_bytes(extra=f"{FOLDER}/../../escaped")
    server.sent = len(server.data)
    with pytest.raises(ArtefactError, match="cannot be unpacked"):
        fetch(archive(server), tmp_path / "here")
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "here" / FOLDER).exists()


def test_load_source_without_pooch_raises_missing_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(MissingError, match="pooch is not installed"):
        load_source("cifar10")
