"""Notes about files: counted once each, on one line whatever their names are."""

from pathlib import Path

from eetool.data.file_notes import FileNotes


def test_file_notes_files_are_counted_once_and_the_first_is_named() -> None:
    notes = FileNotes()
    for what, name in (("skipped", "b"), ("read", "c"), ("skipped", "a"), ("skipped", "b")):
        notes.add(what, Path(name))
    assert notes.lines() == ("skipped: 2 files, the first is b", "read: c")


def test_file_notes_name_with_line_break_stays_on_one_line() -> None:
    notes = FileNotes()
    notes.add("skipped", Path("a\nerror: b\x1b[2J"))
    assert notes.lines() == (r"skipped: 'a\nerror: b\x1b[2J'",)
