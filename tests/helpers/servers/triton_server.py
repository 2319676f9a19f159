"""Triton for a repository as `eetool export --offload` writes it: triton_server.py REPOSITORY HTTP_PORT GRPC_PORT.

The package nvidia-pytriton has Triton's server and its Python backend, not the one of ONNX Runtime. So a copy of the
repository names the other backend, beside a program that runs model.onnx; everything else of config.pbtxt stays, and
Triton holds every request and reply to it. It runs in an environment of its own, without eetool.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytriton

_PACKAGE = Path(pytriton.__file__).parent / "tritonserver"
_STUB = "triton_python_backend_stub"


def copy_repository(repository: Path, folder: Path) -> Path:
    """Return a copy whose models run in the Python backend."""
    copy = Path(shutil.copytree(repository, folder / "repository"))
    for config in copy.glob("*/config.pbtxt"):
        lines = [line for line in config.read_text().splitlines() if not line.startswith(("platform:", "backend:"))]
        config.write_text("\n".join([*lines, 'backend: "python"']) + "\n")
        for name, copied in (("triton_model.py", "model.py"), ("onnx_models.py", "onnx_models.py")):
            shutil.copy(Path(__file__).with_name(name), config.parent / "1" / copied)
    return copy


def copy_backends(folder: Path) -> Path:
    """Return a copy of the backends with the interpreter of this Python's version beside the Python backend."""
    backends = Path(shutil.copytree(_PACKAGE / "backends", folder / "backends"))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(_PACKAGE / "python_backend_stubs" / version / _STUB, backends / "python" / _STUB)
    return backends


def main(repository: str, http_port: str, grpc_port: str) -> None:
    """Become Triton."""
    folder = Path(tempfile.mkdtemp(prefix="triton"))
    copy, backends = copy_repository(Path(repository), folder), copy_backends(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    libraries = _PACKAGE.parents[1] / "nvidia_pytriton.libs"  # found beside the package, not beside the copy
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join([str(libraries), os.environ.get("LD_LIBRARY_PATH", "")])
    command = [str(_PACKAGE / "bin/tritonserver"), f"--model-repository={copy}", f"--backend-directory={backends}"]
    command += ["--http-address=127.0.0.1", f"--http-port={http_port}"]
    command += ["--grpc-address=127.0.0.1", f"--grpc-port={grpc_port}", "--allow-metrics=false"]
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
