"""Measurement over ssh against a real server on loopback: results, clean-up, and errors."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from eetool.cli.app import cli
from eetool.errors import EarlyExitError, MissingError, UsageError
from eetool.latency.table.hw_profile import read_profile
from eetool.profile.protocol import MeasurementProtocol, PowerOptions
from eetool.profile.ssh_runner import Address, lease_device, parse_address
from eetool_runtime import Bundle, open_bundle
from tests.helpers.sshd import AVAILABLE, Server, serve
from tests.helpers.tiny_bundle import VARIANT, write_tiny_bundle

QUICK = MeasurementProtocol(10, 0)
real = pytest.mark.skipif(not AVAILABLE, reason="no OpenSSH server is installed: apt install openssh-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(write_tiny_bundle(tmp_path))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi@raspberrypi.local", Address("raspberrypi.local", "pi", None)),
        ("ssh://board:2222", Address("board", None, 2222)),
        ("ssh://pi@[fe80::1]:22/", Address("fe80::1", "pi", 22)),
    ],
)
def test_parse_address_valid_forms(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "ssh://",
        "ssh://-oProxyCommand=touch",
        "ssh://a b",
        "ssh://-l@host",
        "ssh://h:0",
        "ssh://h:65536",
        "ssh://h;id",
        "scp://h",
    ],
)
def test_parse_address_invalid_raises_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="no address of a device"):
        parse_address(text)


@real
def test_measure_returns_times_and_leaves_no_files(server: Server, bundle: Bundle) -> None:
    with lease_device(server.device, bundle, server.options, sys.executable) as remote:
        assert remote.cores >= 1
        assert len(server.left_behind) == 1
        measurement = remote.measure(bundle.path, VARIANT, 1, QUICK, power=PowerOptions(watts=5.0))
    assert measurement.bundle.name == "tiny"
    assert measurement.energy is not None
    assert server.left_behind == []


@real
def test_profile_command_over_ssh_measures(server: Server, bundle: Bundle) -> None:
    options = [word for option in server.options for word in ("--ssh-option", option)]
    quick = ["--threads", "1", "--runs", "10", "--min-seconds", "0", "--json"]
    arguments = ["--device", server.device, "--device-python", sys.executable, *options, *quick]
    result = CliRunner().invoke(cli, ["profile", str(bundle.path), *arguments])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["device"], document["provenance"]) == (server.device, "measured")
    assert server.left_behind == []


@real
def test_build_table_over_ssh_writes_profile(server: Server, tmp_path: Path) -> None:
    options = [word for option in server.options for word in ("--ssh-option", option)]
    there = ["--device", server.device, "--device-python", sys.executable, *options]
    out = tmp_path / "board.json"
    build = ["--build-table", "--probes", "8", "--runs", "10", "--accept-unstable", "-o", str(out)]
    result = CliRunner().invoke(cli, ["profile", *build, *there])
    assert result.exit_code == 0, result.stderr
    profile = read_profile(out)
    assert profile.name == "board"
    assert profile.entries("measured") > 0
    assert server.left_behind == []


@real
def test_measure_remote_error_keeps_class_and_leaves_no_files(server: Server, bundle: Bundle) -> None:
    with (
        pytest.raises(MissingError, match=r"/nowhere\.csv: cannot be read"),
        lease_device(server.device, bundle, server.options, sys.executable) as remote,
    ):
        remote.measure(bundle.path, VARIANT, 1, QUICK, power=PowerOptions("log:/nowhere.csv"))
    assert server.left_behind == []


@real
def test_lease_device_local_error_leaves_no_files(server: Server, bundle: Bundle) -> None:
    with pytest.raises(ZeroDivisionError), lease_device(server.device, bundle, server.options, sys.executable):
        raise ZeroDivisionError
    assert server.left_behind == []


def like_an_option(bundle: Path) -> Path:
    return bundle.rename(bundle.with_name("-x.eebundle"))


def over_a_link(bundle: Path) -> Path:
    link = bundle.with_name("link.eebundle")
    link.symlink_to(bundle)
    return link


def from_within(bundle: Path) -> Path:
    os.chdir(bundle)
    return Path()


@real
@pytest.mark.parametrize("make", [like_an_option, over_a_link, from_within])
def test_lease_bundle_of_any_name_is_copied_and_measured(
    server: Server, bundle: Bundle, make: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.path.parent)  # and back at the end
    named = open_bundle(make(bundle.path))
    with lease_device(server.device, named, server.options, sys.executable) as remote:
        (folder,) = server.left_behind
        there = {path.name for path in folder.iterdir()}
        assert there == {"bundle.eebundle", "eetool_measure", "eetool_runtime"}
        assert not any(path.is_symlink() for path in folder.rglob("*"))
        assert remote.measure(named.path, VARIANT, 1, QUICK).bundle.name == "tiny"
    assert server.left_behind == []


@real
def test_lease_bundle_named_like_a_module_is_never_imported(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    module = bundle.path.rename(tmp_path / "numpy")
    (module / "__init__.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')")
    (module / "secret").symlink_to("/etc/hostname")
    with lease_device(server.device, open_bundle(module), server.options, sys.executable) as remote:
        assert remote.measure(module, VARIANT, 1, QUICK).bundle.name == "tiny"
        (folder,) = server.left_behind
        sent = {path.relative_to(folder).as_posix() for path in (folder / "bundle.eebundle").rglob("*")}
    files = {"manifest.json", *bundle.manifest.files}
    assert {name for name in sent if "." in name.rpartition("/")[2]} == {f"bundle.eebundle/{name}" for name in files}
    assert not (tmp_path / "pwned").exists()


def without_numpy(folder: Path) -> str:
    """Return a Python interpreter without packages."""
    path = folder / "bare-python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    path.chmod(0o755)
    return str(path)


@real
def test_lease_device_missing_python_or_numpy_raises_missing_error(
    server: Server, bundle: Bundle, tmp_path: Path
) -> None:
    for python, message, hint in (
        ("no-such-python", "there is no no-such-python", "--device-python"),
        (without_numpy(tmp_path), "No module named 'numpy'", "-m pip install numpy onnxruntime"),
    ):
        with (
            pytest.raises(MissingError, match=message) as missing,
            lease_device(server.device, bundle, server.options, python),
        ):
            pass
        assert hint in (missing.value.hint or "")
    assert server.left_behind == []


@real
def test_lease_device_unknown_host_or_key_raises_missing_error(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger"], check=True)
    key, only, hosts = server.options
    for options, message, hint in (
        (
            (key, only, f"UserKnownHostsFile={tmp_path / 'empty'}", "GlobalKnownHostsFile=none"),
            "Host key",
            "fingerprint",
        ),
        ((f"IdentityFile={tmp_path / 'stranger'}", only, hosts), "Permission denied", "ssh-copy-id"),
    ):
        with (
            pytest.raises(MissingError, match=message) as refused,
            lease_device(server.device, bundle, options, sys.executable),
        ):
            pass
        assert hint in (refused.value.hint or "")


@real
def test_lease_device_no_server_raises_missing_error(bundle: Bundle) -> None:
    with (
        pytest.raises(MissingError, match="connection could not be made"),
        lease_device("ssh://127.0.0.1:9", bundle),
    ):
        pass


@real
def test_lease_device_full_disk_raises_missing_error(bundle: Bundle, tmp_path: Path) -> None:
    """Files on the server are limited to a few kilobytes."""
    (tmp_path / "sshd").mkdir()
    limit = "ForceCommand trap '' XFSZ; ulimit -f 1; eval \"$SSH_ORIGINAL_COMMAND\""
    with serve(tmp_path / "sshd", limit) as small:
        with (
            pytest.raises(MissingError, match="could not be copied there"),
            lease_device(small.device, bundle, small.options, sys.executable),
        ):
            pass
        assert small.left_behind == []


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("the condition did not hold within half a minute")


@real
def test_measure_broken_link_raises_missing_error_and_cleans_up(server: Server, bundle: Bundle) -> None:
    def cut() -> None:
        wait_for(lambda: any(p.suffix == ".pid" for folder in server.left_behind for p in folder.iterdir()))
        server.break_links()

    with lease_device(server.device, bundle, server.options, sys.executable) as remote:
        cutter = threading.Thread(target=cut)
        cutter.start()
        with pytest.raises(MissingError, match="the connection broke"):
            remote.measure(bundle.path, VARIANT, 1, MeasurementProtocol(1, 600))
        cutter.join()
    wait_for(lambda: server.left_behind == [])


@real
def test_profile_command_ctrl_c_exits_with_130_and_cleans_up(server: Server, bundle: Bundle) -> None:
    options = [word for option in server.options for word in ("--ssh-option", option)]
    arguments = ["--device", server.device, "--device-python", sys.executable, "--min-seconds", "600", *options]
    child = subprocess.Popen(
        [sys.executable, "-m", "eetool", "profile", bundle.path, "--threads", "1", *arguments],
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    wait_for(lambda: any(p.suffix == ".pid" for folder in server.left_behind for p in folder.iterdir()))
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to the whole group
    _, message = child.communicate(timeout=60)
    assert (child.returncode, message.strip().splitlines()[-1]) == (130, "error: interrupted")
    assert server.left_behind == []


def test_lease_device_without_ssh_raises_missing_error(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="ssh is not installed") as missing, lease_device("ssh://board", bundle):
        pass
    assert isinstance(missing.value, EarlyExitError)
    assert missing.value.exit_code == 5
