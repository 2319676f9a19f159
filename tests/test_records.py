"""Records on disk: atomic writes, protection of existing files, and reproducible bytes."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eetool import atomic_rename, records
from eetool.errors import ArtefactError, OutputError
from eetool.records import (
    canonical,
    check_output,
    read_record,
    read_text,
    sha256_file,
    write_atomic,
    write_directory,
    write_file,
)

FullDisk = Callable[[int], AbstractContextManager[None]]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWriteAtomic:
    def test_write_atomic_existing_file_with_force_replaces_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        write_atomic(path, b"old")
        write_atomic(path, b"new", force=True)
        assert path.read_bytes() == b"new"
        assert names(tmp_path) == ["file"]

    def test_write_atomic_new_file_is_readable_by_all_users(self, tmp_path: Path) -> None:
        write_atomic(tmp_path / "file", b"")
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644

    def test_write_atomic_full_disk_keeps_old_bytes(self, tmp_path: Path, full_disk: FullDisk) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        with full_disk(4096), pytest.raises(OutputError, match="file could not be written: File too large"):
            write_atomic(path, bytes(100_000), force=True)
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["file"]

    def test_write_atomic_missing_folder_raises_output_error_with_path(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="nowhere/file could not be written: No such file"):
            write_atomic(tmp_path / "nowhere" / "file", b"")


class TestWriteDirectory:
    def test_write_directory_new_path_exists_only_after_block(self, tmp_path: Path) -> None:
        with write_directory(tmp_path / "made") as folder:
            (folder / "inside").write_text("text")
            assert not (tmp_path / "made").exists()
        assert names(tmp_path) == ["made"]
        assert (tmp_path / "made" / "inside").read_text() == "text"

    @pytest.fixture
    def old(self, tmp_path: Path) -> Path:
        path = tmp_path / "made"
        path.mkdir()
        (path / "manifest.json").write_text("{}")
        (path / "old").write_text("precious")
        return path

    def test_write_directory_existing_bundle_with_force_is_replaced_as_a_whole(self, old: Path) -> None:
        with write_directory(old, force=True) as folder:
            (folder / "new").touch()
            assert names(old) == ["manifest.json", "old"]
        assert names(old) == ["new"]
        assert names(old.parent) == ["made"]

    def test_write_directory_existing_file_with_force_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "made").touch()
        with write_directory(tmp_path / "made", force=True):
            pass
        assert (tmp_path / "made").is_dir()
        assert names(tmp_path) == ["made"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_write_directory_failed_block_keeps_old_bundle(self, old: Path, error: type[BaseException]) -> None:
        def fail(folder: Path) -> None:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").touch()
            raise error

        with pytest.raises(error), write_directory(old, force=True) as folder:
            fail(folder)
        assert names(old.parent) == ["made"]
        assert names(old) == ["manifest.json", "old"]

    def test_write_directory_full_disk_leaves_no_files(self, tmp_path: Path, full_disk: FullDisk) -> None:
        refused = pytest.raises(OutputError, match="made could not be written: File too large")
        with full_disk(4096), refused, write_directory(tmp_path / "made") as folder:
            (folder / "file").write_bytes(bytes(100_000))
        assert names(tmp_path) == []

    def test_write_directory_failed_rename_restores_old_bundle(self, old: Path) -> None:
        with pytest.raises(OutputError), write_directory(old, force=True) as folder:
            folder.rmdir()
        assert names(old) == ["manifest.json", "old"]
        assert names(old.parent) == ["made"]


class TestPublishing:
    """Files and folders that appear at the output path while the result is written."""

    @pytest.fixture(params=["renameat2", "portable"], autouse=True)
    def _rename_method(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if request.param == "portable":
            monkeypatch.setattr(atomic_rename, "_system_call", lambda: None)

    def test_write_file_file_appears_meanwhile_keeps_it(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with pytest.raises(OutputError, match="file exists already") as refused, write_file(path):
            path.write_bytes(b"theirs")
        assert refused.value.exit_code == 2
        assert path.read_bytes() == b"theirs"
        assert names(tmp_path) == ["file"]

    def test_write_file_folder_appears_meanwhile_with_force_keeps_it(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="not a plain file"), write_file(tmp_path / "made", force=True):
            (tmp_path / "made" / "deep").mkdir(parents=True)
        assert names(tmp_path / "made") == ["deep"]

    def test_write_directory_empty_folder_appears_meanwhile_keeps_it(self, tmp_path: Path) -> None:
        path = tmp_path / "made"
        with pytest.raises(OutputError, match="exists already"), write_directory(path):
            path.mkdir()
        assert names(path) == []
        assert names(tmp_path) == ["made"]

    def test_write_directory_full_folder_appears_meanwhile_with_force_keeps_it(self, tmp_path: Path) -> None:
        path = tmp_path / "made"
        with pytest.raises(OutputError, match="not a bundle"), write_directory(path, force=True):
            (path / "wedding.jpg").mkdir(parents=True)
        assert names(path) == ["wedding.jpg"]
        assert names(tmp_path) == ["made"]

    def test_write_directory_manifest_vanishes_before_exchange_keeps_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, calls = tmp_path / "made", list[Any]()
        check = records._check_replaceable

        def check_then_change(*arguments: Any, **named: Any) -> None:
            check(*arguments, **named)
            if not calls:
                (path / "manifest.json").rename(path / "wedding.jpg")
            calls.append(arguments)

        path.mkdir()
        (path / "manifest.json").touch()
        monkeypatch.setattr(records, "_check_replaceable", check_then_change)
        with pytest.raises(OutputError, match="not a bundle"), write_directory(path, force=True):
            pass
        assert names(path) == ["wedding.jpg"]
        assert names(tmp_path) == ["made"]

    def test_write_file_two_writers_keep_first_result(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        with pytest.raises(OutputError, match="exists already"), write_file(path):
            write_atomic(path, b"first")
        assert path.read_bytes() == b"first"

    def test_write_directory_eight_writers_keep_one_result(self, tmp_path: Path) -> None:
        path, refused, begin = tmp_path / "made", list[int](), threading.Barrier(8)

        def write(number: int) -> None:
            try:
                with write_directory(path) as new:
                    (new / "number").write_text(str(number))
                    begin.wait()
            except OutputError:
                refused.append(number)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 7
        assert int((path / "number").read_text()) not in refused
        assert names(tmp_path) == ["made"]


class TestCheckOutput:
    def test_check_output_free_path_passes(self, tmp_path: Path) -> None:
        check_output(tmp_path / "new", force=False)
        check_output(tmp_path / "new", force=False, directory=True)

    def test_check_output_existing_file_without_force_raises_output_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="exists already") as refused:
            check_output(tmp_path / "file", force=False)
        assert "--force" in (refused.value.hint or "")
        check_output(tmp_path / "file", force=True)

    @pytest.mark.parametrize("output", ["nowhere/new", "file/new", "/proc/new"])
    def test_check_output_unwritable_folder_raises_output_error(self, tmp_path: Path, output: str) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match=r"is not a folder|cannot be written to"):
            check_output(tmp_path / output, force=True)

    def test_check_output_file_over_folder_or_device_raises_output_error(self, tmp_path: Path) -> None:
        for path in (tmp_path, Path("/dev/null")):
            with pytest.raises(OutputError, match="not a plain file"):
                check_output(path, force=True)

    def test_check_output_bundle_over_device_raises_output_error(self) -> None:
        with pytest.raises(OutputError, match="not a plain file"):
            check_output(Path("/dev/null"), force=True, directory=True)

    def test_check_output_dangling_link_raises_output_error(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(OutputError, match="exists already"):
            check_output(tmp_path / "link", force=False)

    def test_check_output_bundle_over_folder_passes_only_for_bundle_or_empty_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "photos"
        folder.mkdir()
        check_output(folder, force=True, directory=True)
        (folder / "wedding.jpg").touch()
        with pytest.raises(OutputError, match="not a bundle"):
            check_output(folder, force=True, directory=True)
        (folder / "manifest.json").touch()
        check_output(folder, force=True, directory=True)


@dataclass(frozen=True)
class Figure:
    name: str
    value: float


class TestReadRecord:
    ENVELOPE = '{"eetool": "0", "command": "measure", "schema": "figure/1", "ok": true, "name": "a", "value": 1.5}'

    def write(self, folder: Path, text: str) -> Path:
        path = folder / "figure.json"
        path.write_text(text)
        return path

    def test_read_record_json_envelope_is_dropped(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, self.ENVELOPE)
        assert read_record(Figure, path, "figure/1") == Figure("a", 1.5)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "not valid JSON"),
            ("[]", "expected schema 'figure/1', found None"),
            ('{"schema": "figure/2"}', "found 'figure/2'"),
            ('{"schema": "figure/1", "name": "a"}', "value: missing field"),
            ('{"schema": "figure/1", "name": "a", "value": "b"}', "value: expected a number"),
            ('{"schema": "figure/1", "name": "a", "value": 1, "more": 2}', "more: unknown field"),
        ],
    )
    def test_read_record_invalid_document_raises_artefact_error_with_file_and_field(
        self, tmp_path: Path, text: str, reason: str
    ) -> None:
        with pytest.raises(ArtefactError, match=reason) as refused:
            read_record(Figure, self.write(tmp_path, text), "figure/1")
        assert "figure.json" in refused.value.message

    def test_read_text_missing_or_binary_file_raises_artefact_error(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="nowhere: cannot be read: No such file"):
            read_text(tmp_path / "nowhere")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ArtefactError, match="not a text file"):
            read_text(tmp_path / "binary")


def test_canonical_record_keeps_field_order_and_rejects_nan() -> None:
    assert canonical(Figure("ä", 1.0)) == '{\n  "name": "ä",\n  "value": 1.0\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(Figure("a", float("nan")))


def test_sha256_file_known_bytes_match_standard(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_file(tmp_path / "file").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")
