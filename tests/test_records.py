"""Files of records: all or nothing, never by accident, and the same bytes every time."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from eetool.errors import ArtefactError, OutputError
from eetool.records import (
    canonical,
    check_output,
    read_record,
    read_text,
    sha256_file,
    write_atomic,
    write_directory,
)

FullDisk = Callable[[int], AbstractContextManager[None]]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWriteAtomic:
    def test_replaces_the_old_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        write_atomic(path, b"old")
        write_atomic(path, b"new")
        assert path.read_bytes() == b"new"
        assert names(tmp_path) == ["file"]

    def test_others_may_read_the_file(self, tmp_path: Path) -> None:
        write_atomic(tmp_path / "file", b"")
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644

    def test_keeps_the_old_bytes_when_the_disk_is_full(self, tmp_path: Path, full_disk: FullDisk) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"old")
        with full_disk(4096), pytest.raises(OutputError, match="file could not be written: File too large"):
            write_atomic(path, bytes(100_000))
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["file"]

    def test_names_the_path_when_the_folder_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="nowhere/file could not be written: No such file"):
            write_atomic(tmp_path / "nowhere" / "file", b"")


class TestWriteDirectory:
    def test_gives_the_directory_its_name_at_the_end(self, tmp_path: Path) -> None:
        with write_directory(tmp_path / "made") as folder:
            (folder / "inside").write_text("text")
            assert not (tmp_path / "made").exists()
        assert names(tmp_path) == ["made"]
        assert (tmp_path / "made" / "inside").read_text() == "text"

    @pytest.fixture
    def old(self, tmp_path: Path) -> Path:
        path = tmp_path / "made"
        path.mkdir()
        (path / "old").write_text("precious")
        return path

    def test_replaces_a_directory_as_a_whole(self, old: Path) -> None:
        with write_directory(old) as folder:
            (folder / "new").touch()
            assert names(old) == ["old"]
        assert names(old) == ["new"]
        assert names(old.parent) == ["made"]

    def test_replaces_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "made").touch()
        with write_directory(tmp_path / "made"):
            pass
        assert (tmp_path / "made").is_dir()
        assert names(tmp_path) == ["made"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_leaves_nothing_behind_after_a_failure(self, old: Path, error: type[BaseException]) -> None:
        def fail(folder: Path) -> None:
            (folder / "deep").mkdir()
            (folder / "deep" / "file").touch()
            raise error

        with pytest.raises(error), write_directory(old) as folder:
            fail(folder)
        assert names(old.parent) == ["made"]
        assert names(old) == ["old"]

    def test_leaves_nothing_behind_when_the_disk_is_full(self, tmp_path: Path, full_disk: FullDisk) -> None:
        refused = pytest.raises(OutputError, match="made could not be written: File too large")
        with full_disk(4096), refused, write_directory(tmp_path / "made") as folder:
            (folder / "file").write_bytes(bytes(100_000))
        assert names(tmp_path) == []

    def test_puts_the_old_directory_back_when_the_new_one_cannot_take_its_place(self, old: Path) -> None:
        with pytest.raises(OutputError), write_directory(old) as folder:
            folder.rmdir()
        assert names(old) == ["old"]
        assert names(old.parent) == ["made"]


class TestCheckOutput:
    def test_a_free_place_is_fine(self, tmp_path: Path) -> None:
        check_output(tmp_path / "new", force=False)
        check_output(tmp_path / "new", force=False, directory=True)

    def test_an_existing_output_needs_force(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="exists already") as refused:
            check_output(tmp_path / "file", force=False)
        assert "--force" in (refused.value.hint or "")
        check_output(tmp_path / "file", force=True)

    @pytest.mark.parametrize("place", ["nowhere/new", "file/new", "/proc/new"])
    def test_the_folder_must_be_one_that_can_be_written_to(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match=r"is not a folder|cannot be written to"):
            check_output(tmp_path / place, force=True)

    def test_a_file_never_replaces_a_folder_or_a_device(self, tmp_path: Path) -> None:
        for path in (tmp_path, Path("/dev/null")):
            with pytest.raises(OutputError, match="not a plain file"):
                check_output(path, force=True)

    def test_a_bundle_replaces_only_a_bundle_or_what_holds_nothing(self, tmp_path: Path) -> None:
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

    def test_drops_the_envelope(self, tmp_path: Path) -> None:
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
    def test_refuses_by_file_and_field(self, tmp_path: Path, text: str, reason: str) -> None:
        with pytest.raises(ArtefactError, match=reason) as refused:
            read_record(Figure, self.write(tmp_path, text), "figure/1")
        assert "figure.json" in refused.value.message

    def test_a_missing_or_binary_file_is_an_artefact_error(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="nowhere: cannot be read: No such file"):
            read_text(tmp_path / "nowhere")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ArtefactError, match="not a text file"):
            read_text(tmp_path / "binary")


def test_canonical_text_keeps_the_order_of_the_fields_and_refuses_nan() -> None:
    assert canonical(Figure("ä", 1.0)) == '{\n  "name": "ä",\n  "value": 1.0\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(Figure("a", float("nan")))


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_file(tmp_path / "file").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")
