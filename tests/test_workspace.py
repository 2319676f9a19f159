"""Working folders: removed by their process or by the next run, never while their process runs."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eetool import atomic_rename, workspace
from eetool.errors import OutputError
from eetool.records import check_output, write_atomic, write_directory

_HOLDER_PROGRAM = """
import sys
from pathlib import Path
from eetool.workspace import move_aside, workspace
path = Path(sys.argv[1])
with workspace(path) as folder:
    (folder / "new").write_text("half")
    if "aside" in sys.argv:
        move_aside(path, folder)
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def running_holder(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that holds a workspace of `path`, and kill it after the block."""
    command = [sys.executable, "-c", _HOLDER_PROGRAM, str(path), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def leftover_of_killed_run(path: Path, *options: str) -> str:
    with running_holder(path, *options):
        pass
    (leftover,) = (name for name in names(path.parent) if name.startswith(f".{path.name}."))
    return leftover


@pytest.mark.parametrize(
    "write",
    [
        lambda path: check_output(path, force=False),
        lambda path: write_atomic(path, b""),
        lambda path: _write_bundle(path),
    ],
)
def test_workspace_of_killed_run_is_removed_by_next_run(tmp_path: Path, write: Callable[[Path], None]) -> None:
    leftover = leftover_of_killed_run(tmp_path / "made")
    write(tmp_path / "made")
    assert leftover not in names(tmp_path)


def _write_bundle(path: Path) -> None:
    with write_directory(path):
        pass


def test_workspace_of_running_process_is_kept(tmp_path: Path) -> None:
    with running_holder(tmp_path / "made"):
        before = names(tmp_path)
        write_atomic(tmp_path / "made", b"")
        assert names(tmp_path) == sorted([*before, "made"])


def test_clear_leftovers_workspace_of_this_process_is_kept(tmp_path: Path) -> None:
    with workspace.workspace(tmp_path / "made") as folder:
        workspace.clear_leftovers(tmp_path / "made")
        assert folder.is_dir()
    assert names(tmp_path) == []


def test_workspace_of_other_machine_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leftover = leftover_of_killed_run(tmp_path / "made")
    monkeypatch.setattr(workspace, "_host", lambda: "0" * 8)
    write_atomic(tmp_path / "made", b"")
    assert names(tmp_path) == [leftover, "made"]


def test_workspace_of_other_output_is_kept(tmp_path: Path) -> None:
    leftover = leftover_of_killed_run(tmp_path / "made.pt")
    write_atomic(tmp_path / "made", b"")
    assert names(tmp_path) == [leftover, "made"]


def test_workspace_removed_before_lock_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run may remove a new folder in the moment before it is locked."""
    make, folders = tempfile.mkdtemp, list[str]()

    def create_then_clear(**options: object) -> str:
        folders.append(make(**options))
        if len(folders) == 1:
            workspace.clear_leftovers(tmp_path / "made")
        return folders[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", create_then_clear)
    with workspace.workspace(tmp_path / "made") as folder:
        assert folder == Path(folders[1])
    assert names(tmp_path) == []


def test_workspace_without_lock_support_works_and_leftover_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, os.strerror(95))

    leftover = leftover_of_killed_run(tmp_path / "made")
    monkeypatch.setattr(fcntl, "flock", unsupported)
    write_atomic(tmp_path / "made", b"")
    assert names(tmp_path) == [leftover, "made"]


def test_check_output_file_moved_aside_by_killed_run_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("precious")
    leftover_of_killed_run(path, "aside")
    assert not path.exists()
    with pytest.raises(OutputError, match="exists already"):
        check_output(path, force=False)
    assert path.read_text() == "precious"
    assert names(tmp_path) == ["made"]


def test_clear_leftovers_file_replaced_by_killed_run_is_not_restored(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("old")
    leftover_of_killed_run(path, "aside")
    path.write_text("new")
    workspace.clear_leftovers(path)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["made"]


def test_write_atomic_longest_name_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("n" * 255), b"")
    with pytest.raises(OutputError, match="File name too long"):
        check_output(tmp_path / ("n" * 256), force=False)
    assert names(tmp_path) == ["n" * 255]


class TestSetAside:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        for suffix in ("", "-journal"):
            (tmp_path / f"study{suffix}").write_text("old")
        return tmp_path / "study"

    @pytest.mark.parametrize(("is_valid", "content"), [(False, "old"), (True, "new")])
    def test_set_aside_failed_block_keeps_only_valid_new_file(self, path: Path, is_valid: bool, content: str) -> None:
        with pytest.raises(KeyError), workspace.set_aside(path, ("-journal",), lambda: is_valid):  # noqa: PT012
            assert names(path.parent)[1:] == []
            path.write_text("new")
            raise KeyError
        assert path.read_text() == content
        assert names(path.parent) == (["study"] if is_valid else ["study", "study-journal"])

    def test_set_aside_successful_block_keeps_new_file(self, path: Path) -> None:
        with workspace.set_aside(path, ("-journal",), lambda: False):
            path.write_text("new")
        assert path.read_text() == "new"
        assert names(path.parent) == ["study"]


@pytest.mark.parametrize("portable", [False, True])
class TestRenameNew:
    @pytest.fixture(autouse=True)
    def _rename_method(self, portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if portable:
            monkeypatch.setattr(atomic_rename, "_system_call", lambda: None)

    def test_rename_new_file_to_taken_name_raises_file_exists_error(self, tmp_path: Path) -> None:
        (tmp_path / "one").write_text("one")
        atomic_rename.rename_new(tmp_path / "one", tmp_path / "two")
        assert names(tmp_path) == ["two"]
        (tmp_path / "one").write_text("1")
        with pytest.raises(FileExistsError):
            atomic_rename.rename_new(tmp_path / "one", tmp_path / "two")
        assert (tmp_path / "two").read_text() == "one"

    def test_rename_new_file_without_link_support_replaces_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unsupported(*_: object, **__: object) -> None:
            raise OSError(1, os.strerror(1))

        monkeypatch.setattr(os, "link", unsupported)
        self.test_rename_new_file_to_taken_name_raises_file_exists_error(tmp_path)

    def test_rename_new_folder_to_taken_name_raises_file_exists_error(self, tmp_path: Path) -> None:
        (tmp_path / "one" / "inside").mkdir(parents=True)
        atomic_rename.rename_new(tmp_path / "one", tmp_path / "two")
        assert names(tmp_path / "two") == ["inside"]
        for taken in ("empty", "two"):
            (tmp_path / taken).mkdir(exist_ok=True)
            (tmp_path / "one").mkdir(exist_ok=True)
            with pytest.raises(FileExistsError):
                atomic_rename.rename_new(tmp_path / "one", tmp_path / taken)
        assert names(tmp_path) == ["empty", "one", "two"]


def test_clear_folder_removes_the_leftovers_of_every_name_in_it(tmp_path: Path) -> None:
    names = ("features.f16", "0a1b-2c3d")
    for name in names:
        with workspace.workspace(tmp_path / name) as folder:
            left = tmp_path / (folder.name[:-8] + "abcdefgh")  # as a killed process leaves it, without its lock
            left.mkdir()
            (left / "new").write_text("half")
    (tmp_path / "whole").write_text("whole")
    with workspace.workspace(tmp_path / "running"):
        workspace.clear_folder(tmp_path)
        assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["whole"]
        assert len(list(tmp_path.glob(".*"))) == 1, "that of a running process stays"
