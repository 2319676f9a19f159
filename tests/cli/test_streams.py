"""Commands on closed, full and ASCII streams; names with control characters, too long or not UTF-8."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest

from eetool.cli import output
from eetool.cli.output import CommandResult, ErrorHandlingGroup, print_lines, table, verb
from eetool.cli.progress_bars import TerminalProgress
from eetool.errors import ArtefactError
from eetool.printable_text import visible
from eetool.records import canonical, write_atomic

TITLE = "\x1b]0;taken\x07"  # changes the title of a terminal
ACTING = [chr(c) for c in (*range(9), *range(11, 32), *range(127, 160), 0x202E, 0x2066, 0x200F, 0xD800, 0xDCFF)]
WRITING = (["devices"], ["devices", "--json"], ["--help"], ["train", "--help"], ["--version"])
FAILING_JSON = ["devices", "nosuch", "--json"]
ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


def eetool(*arguments: object, shell: str = 'exec "$@"', **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, through a shell that may redirect its streams."""
    command = [sys.executable, "-m", "eetool", *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(["sh", "-c", shell, "sh", *command], check=False, errors="surrogateescape", **streams)


@pytest.mark.parametrize("arguments", [*WRITING, FAILING_JSON], ids=" ".join)
def test_command_closed_pipe_exits_quietly(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = eetool(*arguments, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (output.READER_GONE, "")


@pytest.mark.parametrize("arguments", [*WRITING, FAILING_JSON], ids=" ".join)
@pytest.mark.parametrize(("to", "reason"), [("/dev/full", "No space left on device"), ("&-", "it is closed")])
def test_command_unwritable_stdout_reports_reason(arguments: list[str], to: str, reason: str) -> None:
    done = eetool(*arguments, shell=f'exec "$@" >{to}')
    assert done.stderr == f"error: standard output cannot be written: {reason}\n"
    assert done.returncode == 2


@pytest.mark.parametrize("to", ["/dev/full", "&-"])
def test_command_unwritable_stderr_keeps_result_and_code(to: str) -> None:
    assert eetool("devices", "rpi4", shell=f'exec "$@" 2>{to}').stdout.startswith("rpi4: ")
    assert eetool("devices", "nosuch", shell=f'exec "$@" 2>{to}').returncode == 5
    assert eetool("devices", "nosuch", shell=f'exec "$@" 2>{to} >&-').returncode == 5


@pytest.mark.parametrize("arguments", [("inspect", "x"), ("devices",), ("report", "x.json")], ids=" ".join)
def test_command_in_deleted_folder_is_usage_error(arguments: tuple[str, ...], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = eetool(*arguments, shell=f'rmdir "{gone}"; exec "$@"', cwd=gone)
    assert done.stderr.startswith("error: the working folder: No such file or directory\n")
    assert done.returncode == 2


ONE_BY_ONE = """
import json, sys
from eetool.cli.app import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as ended:
        assert not ended.code, arguments
"""


def test_command_on_ascii_terminal_prints_ascii(bundle: Path, trained: Path) -> None:
    calls: list[tuple[object, ...]] = [
        ("--help",),
        ("train", "--help"),
        ("devices", "rpi4"),
        ("inspect", bundle),
        ("inspect", trained),
        ("inspect", trained, "--json"),
        ("estimate", bundle, "--device", "rpi4"),
        ("table", "show", "rpi4"),
    ]
    command = [sys.executable, "-c", ONE_BY_ONE, json.dumps([[str(word) for word in call] for call in calls])]
    done = subprocess.run(command, check=False, capture_output=True, env={**os.environ, **ASCII})
    assert (done.returncode, (done.stdout + done.stderr).isascii()) == (0, True), done
    shown = done.stdout.decode("ascii")
    assert "4 x Arm" in shown
    assert "+/-18%" in shown


def test_json_on_ascii_terminal_has_same_values() -> None:
    program = """
from eetool.cli.output import CommandResult, ErrorHandlingGroup, verb
@verb
def act():
    return CommandResult("act/1", {"name": "é×日"}, [])
group = ErrorHandlingGroup("small")
group.add_command(act)
group(["act", "--json"])
"""
    texts = [
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": encoding},
        ).stdout.decode()
        for encoding in ("ascii", "utf-8")
    ]
    assert [text.isascii() for text in texts] == [True, False]
    assert [json.loads(text)["name"] for text in texts] == ["é×日"] * 2


def test_command_path_not_utf8_is_read_or_refused(bundle: Path, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a\xff\x1b[31m")
    folder.mkdir()
    (folder / "m.eebundle").symlink_to(bundle)
    (folder / "m.pt").symlink_to(trained)
    for name in ("m.eebundle", "m.pt"):
        done = eetool("inspect", folder / name)
        assert (done.returncode, "\x1b" in done.stdout + done.stderr) == (0, False), done
    (folder / "p.json").symlink_to(folder / "nowhere")
    returned = eetool("profile", folder / "m.eebundle", "--device", "rpi4", "-o", folder / "out.json", "--json")
    assert returned.returncode == 0, returned
    assert json.loads(returned.stdout.encode("utf-8")) == json.loads((folder / "out.json").read_text("utf-8"))
    done = eetool("verify", folder / "m.eebundle")
    assert done.returncode == 5
    assert "onnxruntime cannot open a path that is not UTF-8" in done.stderr
    assert "a\\udcff\\x1b[31m" in done.stderr


LONG = "n" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", LONG),
        ("verify", LONG),
        ("run", LONG, "x.npy"),
        ("bench", LONG, "--data", "digits"),
        ("profile", LONG),
        ("tune", LONG, "--data", "digits"),
        ("export", LONG),
        ("report", LONG),
        ("train", "resnet8", "--data", f"folder:{LONG}"),
        ("train", "resnet8", "--data", f"tsv:{LONG}"),
        ("train", "resnet8", "--data", f"cifar10:{LONG}"),
    ],
    ids=lambda words: " ".join(word[:8] for word in words),
)
def test_input_name_too_long_exits_with_3(arguments: tuple[str, ...], refused: Any) -> None:
    refused(3, "File name too long", *arguments)


def test_output_name_too_long_exits_with_2(refused: Any, bundle: Path, trained: Path) -> None:
    refused(2, "File name too long", "train", "resnet8", "--data", "digits", "-o", LONG)
    refused(2, "File name too long", "tune", trained, "--data", "digits", "-o", LONG)
    refused(2, "File name too long", "export", trained, "-o", LONG)
    refused(2, "File name too long", "report", bundle, "-o", trained.parent / "r.html", "--figures", LONG)
    refused(2, "File name too long", "profile", bundle, "--device", "rpi4", "-o", LONG)
    refused(2, "File name too long", "search", "--space", "resnet", "--data", "digits", "--device", "rpi4", "-o", LONG)


def test_write_atomic_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 127 + "n")
    write_atomic(path, b"all of it")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"all of it"]


@pytest.mark.parametrize("character", ACTING, ids=ascii)
def test_visible_control_character_becomes_escape(character: str) -> None:
    assert visible(f"a{character}b") == f"a{ascii(character)[1:-1]}b".replace("\\r", "\\x0d")
    value = {f"k{character}": [f"a{character}b"]}
    text = canonical(value)
    assert character not in text
    assert json.loads(text) == value


def test_visible_plain_text_is_unchanged() -> None:
    assert visible("a\tb\n× … é 日本 👩‍🔬") == "a\tb\n× … é 日本 👩‍🔬"


def shown_by(act: Callable[[], CommandResult]) -> click.testing.Result:
    group = ErrorHandlingGroup("small")
    group.add_command(verb(act))
    return click.testing.CliRunner().invoke(group, [act.__name__])


def test_result_errors_and_notes_escape_control_characters() -> None:
    def act() -> CommandResult:
        """Act."""
        TerminalProgress().note(f"note {TITLE}")
        heading = {f"h{TITLE}": "left"}
        texts = [f"line {TITLE}", table(heading, [[f"cell {TITLE}\nerror: forged"]])]
        return CommandResult("act/1", {}, texts, ArtefactError(f"broken {TITLE}", f"mend {TITLE}"))

    done = shown_by(act)
    escaped = visible(TITLE)
    for words in ("line ", "h", "cell "):
        assert words + escaped in done.stdout
    for words in ("note ", "broken ", "mend "):
        assert words + escaped in done.stderr
    assert TITLE[0] not in done.stdout + done.stderr
    assert not any(line.startswith("error: forged") for line in done.stdout.splitlines())


def test_usage_errors_and_tracebacks_escape_control_characters(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EETOOL_TRACEBACK", "1")
    unknown = cli("devices", f"--{TITLE}")
    assert (unknown.code, TITLE[0] in unknown.stderr) == (2, False)

    def act() -> CommandResult:
        """Act."""
        raise RuntimeError(TITLE)

    failed = shown_by(act)
    assert failed.exit_code == 1
    assert f"RuntimeError: {visible(TITLE)}" in failed.stderr
    assert TITLE[0] not in failed.stderr


def test_warnings_and_bars_escape_control_characters() -> None:
    program = f"""
import warnings
from eetool.cli.output import CommandResult, ErrorHandlingGroup, table, verb
from eetool.cli.progress_bars import TerminalProgress
@verb
def act():
    warnings.warn({TITLE!r})
    with TerminalProgress()("bar [red]" + {TITLE!r}, 3) as advance:
        advance(2)
    return CommandResult("act/1", {{}}, [table({{"h": "left"}}, [[{TITLE!r}]])])
group = ErrorHandlingGroup("small")
group.add_command(act)
group(["act"])
"""
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", program], check=False, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 100_000)
        except OSError:  # the other end is closed, and all of it was read
            break
    os.close(ours)
    assert done.returncode == 0, shown
    assert TITLE.encode() not in shown
    assert shown.count(visible(TITLE).encode()) >= 3
    assert b"bar [red]" in shown


def test_print_lines_keeps_newlines(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines([f"a\nb{TITLE}"])
    assert capsys.readouterr().out == f"a\nb{visible(TITLE)}\n"


def test_engine_error_with_control_characters_is_escaped(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
import numpy as np
import onnx
from onnx import TensorProto, helper
from eetool_runtime.backends import open_graph
from eetool_runtime.errors import BackendError
node = helper.make_node("Reshape", ["x", "shape"], ["y"], name={TITLE!r})
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy")
shape = helper.make_tensor("shape", TensorProto.INT64, [1], [5])
graph = helper.make_graph([node], "g", [x], [y], [shape])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), sys.argv[1])
try:
    open_graph(Path(sys.argv[1])).run({{"x": np.zeros(3, np.float32)}})
except BackendError as error:
    sys.exit("Reshape" not in error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "g.onnx")], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
