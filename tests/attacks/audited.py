"""Program that runs eetool commands under an audit hook and prints imports, processes and opened files.

    python tests/attacks/audited.py < commands.json

`commands.json` is a list of lists of arguments. Each gives an object with `code`, `stderr`, and `seen`: the audit
events of processes, of connections, of modules and code from the working folder, and of files that were opened
outside allowed places.
"""

import contextlib
import io
import json
import os
import sys
import sysconfig
import tempfile
import traceback
from pathlib import Path
from typing import Any

_STARTS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "socket.", "urllib.", "pty.")
_HARMLESS = ("socket.__new__", "socket.gethostname")
_CANARIES = {"canary", "this", "antigravity"}  # modules that only a reference in a file would import
_REPOSITORY = Path(__file__).resolve().parents[2]
_SYSTEM = ("/proc", "/sys", "/dev", "/usr", "/lib", "/etc")
_HERE = Path.cwd().resolve()
_ALLOWED = tuple(
    str(Path(place).resolve())
    for place in (
        *(_HERE, _REPOSITORY, tempfile.gettempdir(), sys.prefix, sys.base_prefix, *_SYSTEM),
        *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")),
    )
)
_seen: list[str] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import":
        if (_HERE / f"{str(arguments[0]).partition('.')[0]}.py").exists():
            _seen.append(f"import {arguments[0]}")
    elif event == "exec":
        place = Path(getattr(arguments[0], "co_filename", ""))
        if place.parent == _HERE:
            _seen.append(f"exec {place.name}")
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        path = Path(os.fsdecode(arguments[0])).resolve()
        if not str(path).startswith(_ALLOWED) or "secret" in path.parts:
            _seen.append(f"open {path}")
    elif event.startswith(_STARTS) and event not in _HARMLESS:
        _seen.append(f"{event} {arguments!r}"[:300])


def _run(arguments: list[str]) -> dict[str, Any]:
    from eetool.cli.app import main

    _seen.clear()
    before = set(sys.modules)
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
        except BaseException:  # reported to the test
            code = traceback.format_exc()
    _seen.extend(f"module {name}" for name in sorted((set(sys.modules) - before) & _CANARIES))
    return {"code": code, "stderr": err.getvalue(), "seen": list(_seen)}


def main() -> None:
    """Run the commands of stdin."""
    commands = json.load(sys.stdin)
    import torch

    torch.set_num_threads(1)
    sys.addaudithook(_hook)
    sys.stdout.write(json.dumps([_run(arguments) for arguments in commands]))


if __name__ == "__main__":
    main()
