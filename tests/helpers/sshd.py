"""A real OpenSSH server on loopback, with its own key, configuration and temporary folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
AVAILABLE = SSHD is not None and shutil.which("ssh") is not None and shutil.which("ssh-keygen") is not None


@dataclass(frozen=True)
class Server:
    """A running server: port, credentials for clients and temporary folder."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def device(self) -> str:
        return f"ssh://{os.environ.get('USER') or subprocess.getoutput('id -un')}@127.0.0.1:{self.port}"

    @property
    def options(self) -> tuple[str, ...]:
        return (
            f"IdentityFile={self.folder / 'key'}",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={self.folder / 'known_hosts'}",
        )

    @property
    def left_behind(self) -> list[Path]:
        return list((self.folder / "tmp").glob("eetool.*"))

    def break_links(self) -> None:
        """Kill the processes that serve connections, but not the server."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)


@contextlib.contextmanager
def serve(folder: Path, *more: str) -> Iterator[Server]:
    """Start a server; `more` are further lines of its configuration."""
    assert SSHD is not None
    (folder / "tmp").mkdir()
    for name in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
    port = _free_port()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder / 'host_key'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        f"PidFile {folder / 'pid'}",
        f"SetEnv TMPDIR={folder / 'tmp'}",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        *more,
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # privilege separation directory of a server that runs as root
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
        try:
            _await_port(port, process, folder / "log")
            yield Server(port, folder, process)
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(log.read_text())
