"""Measurement on another machine with the system's OpenSSH: runtime and bundle are sent there, JSON comes back.

One ssh session is the *lease*. It unpacks everything into a new directory and waits for the end of its input. The
input ends when the work is done, the user pressed Ctrl-C, or the link broke. The remote shell then stops all running
measurements and removes the directory. Each measurement is a separate session.
"""

import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, TypeVar

import eetool_measure
import eetool_runtime
from eetool.child_progress import run_reporting
from eetool.errors import EarlyExitError, MissingError, UsageError
from eetool.profile.measuring_process import child_error, measure_options, option_words, read_document
from eetool.profile.protocol import NO_POWER, MeasurementProtocol, PowerOptions
from eetool.progress import Advance
from eetool_measure.results import Measurement
from eetool_runtime.backends import PROCESS
from eetool_runtime.bundle import MANIFEST, Bundle

T = TypeVar("T")

SCHEME = "ssh://"
_ADDRESS = re.compile(r"ssh://(?:([\w.][\w.-]*)@)?(\[[0-9a-fA-F:.]+\]|[\w.][\w.-]*)(?::(\d{1,5}))?/?")
_LINK_LOST = 255  # exit code of ssh for its own errors
_NO_DISK, _NO_PYTHON, _NO_NUMPY = 71, 72, 73
# Names on the device are our own: a user's name may look like an option, or shadow a module.
_BUNDLE, _SENT = "bundle.eebundle", "sent.probes"
# BatchMode: ssh must not wait for an answer to a question. A dead link is noticed within a minute.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=3")

# No single quotes: the script is quoted for the user's remote shell. $1: size of the archive, $2: Python.
_LEASE = r"""
say() { echo "eetool: $1" >&2; }
command -v "$2" >/dev/null || { say "no $2"; exit 72; }
d=$(mktemp -d "${TMPDIR:-/tmp}/eetool.XXXXXXXX") || exit 71
finish() { for p in "$d"/*.pid; do [ -e "$p" ] && kill "$(cat "$p")" 2>/dev/null; done; rm -rf "$d"; }
trap finish EXIT
trap "exit 129" HUP INT TERM PIPE
head -c "$1" | tar -xf - -C "$d" || exit 71
cores=$(cd "$d" && "$2" -B -c "from eetool_runtime.machine import usable_cores as n; print(n())") || exit 73
echo "ready $d $cores"
cat >/dev/null
"""
# $1: the directory; $2: size of an archive to unpack first, or 0; $3: folder of it to remove at the end; the rest is
# the command. Its process id is in the directory while it runs.
_MEASURE = r"""
d=$1; n=$2; sent=$3; shift 3; cd "$d" || exit 1
if [ "$n" != 0 ]; then head -c "$n" | tar -xf - || exit 71; fi
"$@" </dev/null & p=$!
echo $p >$p.pid; wait $p; code=$?; rm -f $p.pid
if [ "$n" != 0 ]; then rm -rf "$sent"; fi
exit $code
"""
_READY = re.compile(r"ready (/[\w./-]+) (\d+)\s*")
_HINTS = (
    (
        "Host key verification failed",
        "Connect once manually with `ssh {host}`, compare the fingerprint, and accept it.",
    ),
    (
        "Permission denied",
        "Passwords cannot be entered here: install your key on the device, such as with ssh-copy-id {host}.",
    ),
    ("Could not resolve", "Check the name; `ssh {host}` must work."),
)


@dataclass(frozen=True)
class Address:
    """Address of a device. Omitted parts follow the user's ssh configuration."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """Arguments of `ssh`."""
        port = () if self.port is None else ("-p", str(self.port))
        user = () if self.user is None else ("-l", self.user)
        return (*port, *user, "--", self.host)


def parse_address(text: str) -> Address:
    """Parse an address of the form `ssh://[user@]host[:port]`.

    Raises:
        UsageError: the text has another form.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[3] or 1) not in range(1, 65536):
        raise UsageError(f"{text!r} is no address of a device", "It should be ssh://user@host or ssh://user@host:port.")
    return Address(match[2].strip("[]"), match[1], int(match[3]) if match[3] else None)


@dataclass(frozen=True)
class RemoteDevice:
    """Device with a bundle for the duration of the lease. `cores` are those that a process may use there."""

    ssh: tuple[str, ...]
    folder: str
    cores: int
    python: str
    name: str

    def measure(
        self,
        path: Path,
        variant: str,
        threads: int,
        protocol: MeasurementProtocol,
        pool: str = PROCESS,
        power: PowerOptions = NO_POWER,
    ) -> Measurement:
        """Measure the bundle on the device, as `local_runner.measure_in_process` does on this machine.

        Args:
            path: not used; the bundle lies on the device.
            variant: the variant to measure.
            threads: thread count.
            protocol: options of the measurement.
            pool: thread pool.
            power: source of energy figures.

        Raises:
            MissingError: the link broke.
            EarlyExitError: the device could not measure; the class follows from the exit code.
        """
        words = [*option_words(measure_options(variant, threads, protocol, pool)), *power.words]
        return self._run(Measurement, _BUNDLE, words)

    def run_measure(
        self, kind: type[T], path: Path, options: Mapping[str, object], *, advance: Advance | None = None
    ) -> T:
        """Run `python -m eetool_measure` on the device, as `local_runner.run_measure` does on this machine.

        Args:
            kind: type of the document that it prints.
            path: local folder, which is sent to the device for the measurement.
            options: options with their values.
            advance: receives the number of measured probes, while the device measures.

        Raises:
            MissingError: the link broke, or the device has no room.
            EarlyExitError: the device could not measure; the class follows from the exit code.
        """
        with tempfile.TemporaryFile() as archive:
            size = _pack(archive, {_SENT: path.resolve()})
            words = [*option_words(options), *(("--progress",) if advance is not None else ())]
            return self._run(kind, _SENT, words, archive, size, advance or (lambda steps: None))

    def _run(
        self,
        kind: type[T],
        subject: str,
        words: Sequence[str],
        archive: IO[bytes] | None = None,
        size: int = 0,
        advance: Advance = lambda steps: None,
    ) -> T:
        command = [self.python, "-B", "-m", "eetool_measure", subject, *words]
        script = _script(_MEASURE, self.folder, str(size), subject, *command)
        done = run_reporting([*self.ssh, script], advance, stdin=archive or subprocess.DEVNULL)
        if done.returncode == _LINK_LOST:
            _link_error(self.name, done.stderr, "broke")
        if size and done.returncode == _NO_DISK:
            _lease_error(self.name, done.returncode, done.stderr, self.python)
        if done.returncode != 0:
            raise child_error(done.returncode, done.stderr, f"measuring on {self.name}")
        return read_document(kind, done.stdout)


@contextmanager
def lease_device(
    device: str, bundle: Bundle | None, options: Sequence[str] = (), python: str = "python3"
) -> Iterator[RemoteDevice]:
    """Copy the runtime and a bundle to a device, and remove them at the end of the block, also after an error.

    Args:
        device: `ssh://user@host:port`.
        bundle: the bundle; None to send nothing but the runtime.
        options: for `ssh -o`, such as `IdentityFile=…`.
        python: the remote interpreter, which needs numpy and a backend.

    Yields:
        The device.

    Raises:
        UsageError: `device` is not an address.
        MissingError: ssh is not installed here, there is no link, or the device lacks Python, numpy or room.
    """
    address = parse_address(device)
    if shutil.which("ssh") is None:
        raise MissingError("ssh is not installed here", "apt install openssh-client, or the package of your system.")
    ssh = ("ssh", "-T", *(word for option in (*_OPTIONS, *options) for word in ("-o", option)), *address.words)
    name = address.host
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as archive:
        packages = {package.__name__: Path(package.__path__[0]) for package in (eetool_runtime, eetool_measure)}
        size = _pack(archive, {**packages, **({} if bundle is None else _listed_files(bundle))})
        lease = subprocess.Popen(
            [*ssh, _script(_LEASE, str(size), python)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # not interrupted by Ctrl-C: the end of its input starts the remote clean-up
        )
        assert lease.stdin is not None
        assert lease.stdout is not None
        try:
            _send(archive, lease.stdin)
            ready = _READY.fullmatch(lease.stdout.readline().decode(errors="replace"))
            if ready is None:
                code = lease.wait(timeout=60)
                errors.seek(0)
                _lease_error(name, code, errors.read().decode(errors="replace"), python)
            yield RemoteDevice(ssh, ready[1], int(ready[2]), python, name)
        finally:
            _close(lease)


def _listed_files(bundle: Bundle) -> dict[str, Path]:
    """Return the files that the manifest lists, by their names on the device; other files are not sent."""
    return {f"{_BUNDLE}/{name}": bundle.file(name) for name in (MANIFEST, *bundle.manifest.files)}


def _pack(archive: IO[bytes], places: Mapping[str, Path]) -> int:
    """Write files and folders as a tar by their names in it, without Python's caches; return its size in bytes."""
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, place in places.items():
            tar.add(place, name, filter=_anonymous)
    size = archive.tell()
    archive.seek(0)
    return size


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Remove owner and times from an archive entry; leave out Python's caches."""
    if info.name.endswith("__pycache__"):
        return None
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if info.isdir() else 0o644
    return info


def _send(archive: IO[bytes], to: IO[bytes]) -> None:
    with suppress(BrokenPipeError):  # the remote end has failed, and its error follows
        shutil.copyfileobj(archive, to)
        to.flush()


def _close(lease: "subprocess.Popen[bytes]") -> None:
    assert lease.stdin is not None
    with suppress(BrokenPipeError):
        lease.stdin.close()
    try:
        lease.wait(timeout=20)
    except subprocess.TimeoutExpired:
        lease.kill()
        lease.wait()
    assert lease.stdout is not None
    lease.stdout.close()


def _script(script: str, *arguments: str) -> str:
    return shlex.join(["sh", "-c", script, "eetool", *arguments])


def _lease_error(name: str, code: int, stderr: str, python: str) -> NoReturn:
    last = _last_line(stderr)
    if code == _NO_PYTHON:
        raise MissingError(
            f"{name}: there is no {python}", "Install Python 3.9 or newer there, or give --device-python."
        )
    if code == _NO_NUMPY:
        hint = f"On the device: {python} -m pip install numpy onnxruntime; --device-python names another interpreter."
        raise MissingError(f"{name}: the runtime does not start there: {last}", hint)
    if code == _NO_DISK:
        hint = "Make room in its temporary folder, or set TMPDIR there."
        raise MissingError(f"{name}: the bundle could not be copied there: {last}", hint)
    if code == _LINK_LOST:
        _link_error(name, stderr, "could not be made")
    raise EarlyExitError(f"{name}: the device answered {code}: {last}")


def _link_error(name: str, stderr: str, outcome: str) -> NoReturn:
    hints = [hint.format(host=name) for words, hint in _HINTS if words in stderr]
    raise MissingError(
        f"{name}: the connection {outcome}: {_last_line(stderr)}",
        hints[0] if hints else "The device removes all files once it notices. `ssh` to it must work without questions.",
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no error output"
