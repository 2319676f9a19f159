"""Maker of the virtual environments in which real inference servers run for the tests.

    python tools/make_server_environment.py kserve|triton|mlserver FOLDER

Prints the path of the environment's Python. An environment that is complete is not made again. Each server has
packages that eetool's own environment must not have, such as numpy 1 for Triton.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = {
    "kserve": ("kserve==0.21.0", "onnxruntime==1.32.0"),
    "triton": ("nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime==1.32.0"),
    "mlserver": ("mlserver==1.7.1", "onnxruntime==1.32.0"),
}


def make(server: str, folder: Path) -> Path:
    """Return the Python of the environment in `folder`, which is made if it is absent or of other packages.

    Raises:
        FileExistsError: the folder holds something else.
    """
    python, stamp = folder / "bin/python", folder / "packages.txt"
    wanted = "\n".join(PACKAGES[server])
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").exists():
        raise FileExistsError(f"{folder} is not a virtual environment")
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[server]], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python


def main(arguments: list[str]) -> int:
    """Make one environment."""
    if len(arguments) != 2 or arguments[0] not in PACKAGES:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    try:
        print(make(arguments[0], Path(arguments[1]).absolute()))
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"no environment for {arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
