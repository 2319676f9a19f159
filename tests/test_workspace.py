"""Working folders: gone with their process, or with the next run after it; never while it lives."""

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

_HOLD = """
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
def holder(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process with a workspace of `path`; killed at the end."""
    command = [sys.executable, "-c", _HOLD, str(path), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def left_by_a_killed_run(path: Path, *options: str) -> str:
    with holder(path, *options):
        pass
    (left,) = (name for name in names(path.parent) if name.startswith(f".{path.name}."))
    return left


@pytest.mark.parametrize(
    "write",
    [lambda path: check_output(path, force=False), lambda path: write_atomic(path, b""), lambda path: _made(path)],
)
def test_workspace_of_a_killed_run_is_removed_by_the_next(tmp_path: Path, write: Callable[[Path], None]) -> None:
    left = left_by_a_killed_run(tmp_path / "made")
    write(tmp_path / "made")
    assert left not in names(tmp_path)


def _made(path: Path) -> None:
    with write_directory(path):
        pass


def test_workspace_of_a_living_run_is_left_alone(tmp_path: Path) -> None:
    with holder(tmp_path / "made"):
        before = names(tmp_path)
        write_atomic(tmp_path / "made", b"")
        assert names(tmp_path) == sorted([*before, "made"])


def test_workspace_of_this_process_is_left_alone(tmp_path: Path) -> None:
    with workspace.workspace(tmp_path / "made") as folder:
        workspace.clear_leftovers(tmp_path / "made")
        assert folder.is_dir()
    assert names(tmp_path) == []


def test_workspace_of_another_machine_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = left_by_a_killed_run(tmp_path / "made")
    monkeypatch.setattr(workspace, "_host", lambda: "0" * 8)
    write_atomic(tmp_path / "made", b"")
    assert names(tmp_path) == [left, "made"]


def test_workspace_of_another_output_is_left_alone(tmp_path: Path) -> None:
    left = left_by_a_killed_run(tmp_path / "made.pt")
    write_atomic(tmp_path / "made", b"")
    assert names(tmp_path) == [left, "made"]


def test_workspace_without_a_lock_yet_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run takes a new folder for a leftover in the moment before it is locked."""
    make, made = tempfile.mkdtemp, list[str]()

    def cleared_at_once(**options: object) -> str:
        made.append(make(**options))
        if len(made) == 1:
            workspace.clear_leftovers(tmp_path / "made")
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", cleared_at_once)
    with workspace.workspace(tmp_path / "made") as folder:
        assert folder == Path(made[1])
    assert names(tmp_path) == []


def test_workspace_where_there_are_no_locks_works_and_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, os.strerror(95))

    left = left_by_a_killed_run(tmp_path / "made")
    monkeypatch.setattr(fcntl, "flock", unsupported)
    write_atomic(tmp_path / "made", b"")
    assert names(tmp_path) == [left, "made"]


def test_what_a_killed_run_moved_aside_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("precious")
    left_by_a_killed_run(path, "aside")
    assert not path.exists()
    with pytest.raises(OutputError, match="exists already"):
        check_output(path, force=False)
    assert path.read_text() == "precious"
    assert names(tmp_path) == ["made"]


def test_what_a_killed_run_replaced_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("old")
    left_by_a_killed_run(path, "aside")
    path.write_text("new")
    workspace.clear_leftovers(path)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["made"]


def test_names_of_the_longest_kind_can_be_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("n" * 255), b"")
    with pytest.raises(OutputError, match="File name too long"):
        check_output(tmp_path / ("n" * 256), force=False)
    assert names(tmp_path) == ["n" * 255]


class TestSetAside:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        for ending in ("", "-journal"):
            (tmp_path / f"study{ending}").write_text("old")
        return tmp_path / "study"

    @pytest.mark.parametrize(("stands", "left"), [(False, "old"), (True, "new")])
    def test_set_aside_after_a_failure_keeps_the_new_one_only_where_it_stands(
        self, path: Path, stands: bool, left: str
    ) -> None:
        with pytest.raises(KeyError), workspace.set_aside(path, ("-journal",), lambda: stands):  # noqa: PT012
            assert names(path.parent)[1:] == []
            path.write_text("new")
            raise KeyError
        assert path.read_text() == left
        assert names(path.parent) == (["study"] if stands else ["study", "study-journal"])

    def test_set_aside_after_success_keeps_the_new_one(self, path: Path) -> None:
        with workspace.set_aside(path, ("-journal",), lambda: False):
            path.write_text("new")
        assert path.read_text() == "new"
        assert names(path.parent) == ["study"]


@pytest.mark.parametrize("portable", [False, True])
class TestRenameNew:
    @pytest.fixture(autouse=True)
    def _way(self, portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if portable:
            monkeypatch.setattr(atomic_rename, "_system_call", lambda: None)

    def test_rename_new_of_a_file_replaces_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "one").write_text("one")
        atomic_rename.rename_new(tmp_path / "one", tmp_path / "two")
        assert names(tmp_path) == ["two"]
        (tmp_path / "one").write_text("1")
        with pytest.raises(FileExistsError):
            atomic_rename.rename_new(tmp_path / "one", tmp_path / "two")
        assert (tmp_path / "two").read_text() == "one"

    def test_rename_new_of_a_file_works_without_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unsupported(*_: object, **__: object) -> None:
            raise OSError(1, os.strerror(1))

        monkeypatch.setattr(os, "link", unsupported)
        self.test_rename_new_of_a_file_replaces_nothing(tmp_path)

    def test_rename_new_of_a_folder_replaces_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "one" / "inside").mkdir(parents=True)
        atomic_rename.rename_new(tmp_path / "one", tmp_path / "two")
        assert names(tmp_path / "two") == ["inside"]
        for taken in ("empty", "two"):
            (tmp_path / taken).mkdir(exist_ok=True)
            (tmp_path / "one").mkdir(exist_ok=True)
            with pytest.raises(FileExistsError):
                atomic_rename.rename_new(tmp_path / "one", tmp_path / taken)
        assert names(tmp_path) == ["empty", "one", "two"]
