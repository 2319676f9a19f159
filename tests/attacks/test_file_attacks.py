"""Hostile bundle directories: the manifest is valid, but its files are not."""

import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

Refusal = Callable[[Path], str]
SEG0 = "components/seg0/onnx-fp32/model.onnx"
MANIFEST = "manifest.json"
TERABYTE = 1 << 40


def elsewhere(bundle: Path, name: str) -> Path:
    """Move a part of the bundle out of it and return its new place."""
    place = bundle.parent / "outside"
    shutil.move(bundle / name, place)
    return place


def link(name: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).symlink_to(elsewhere(bundle, name))


def replace(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def attack(bundle: Path) -> None:
        (bundle / name).unlink()
        make(bundle / name)

    return attack


def listen(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the names of sockets must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).write_bytes(change((bundle / name).read_bytes())) and None


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(TERABYTE)


def swap(bundle: Path) -> None:
    """Exchange two valid files: same sizes, other hashes."""
    one, two = bundle / SEG0, bundle / SEG0.replace("seg0", "seg1")
    data = one.read_bytes()
    two_data = two.read_bytes()
    one.write_bytes(two_data)
    two.write_bytes(data)


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "link to a file outside": (link(SEG0), f"{SEG0}: not a plain file"),
    "link to a folder outside": (link("components/seg0"), f"{SEG0}: its folder is a link"),
    "link in place of the first folder": (link("components"), "components/exit0/.*: its folder is a link"),
    "linked manifest": (link(MANIFEST), "manifest.json: not a plain file"),
    "link to itself": (replace(SEG0, lambda path: path.symlink_to(path.name)), f"{SEG0}: not a plain file"),
    "link to nothing": (replace(SEG0, lambda path: path.symlink_to("nothing")), f"{SEG0}: not a plain file"),
    "link to a device": (replace(SEG0, lambda path: path.symlink_to("/dev/zero")), f"{SEG0}: not a plain file"),
    "manifest without end": (replace(MANIFEST, lambda p: p.symlink_to("/dev/zero")), "manifest.json: not a plain file"),
    "pipe without a writer": (replace(SEG0, os.mkfifo), f"{SEG0}: not a plain file"),
    "pipe as the manifest": (replace(MANIFEST, os.mkfifo), "manifest.json: not a plain file"),
    "socket": (replace(SEG0, listen), f"{SEG0}: not a plain file"),
    "folder as a file": (replace(SEG0, Path.mkdir), f"{SEG0}: not a plain file"),
    "folder as the manifest": (replace(MANIFEST, Path.mkdir), "manifest.json: not a plain file"),
    "no manifest": (replace(MANIFEST, lambda path: None), "manifest.json: cannot be read: No such file"),
    "no graph": (replace(SEG0, lambda path: None), f"{SEG0}: cannot be read: No such file"),
    "terabyte of nothing": (replace(SEG0, sparse), f"{SEG0}: {TERABYTE} bytes where the manifest says"),
    "manifest of a terabyte": (replace(MANIFEST, sparse), "manifest.json: .* at most 1048576 are allowed"),
    "one byte more": (rewrite(SEG0, lambda data: data + b"\0"), rf"{SEG0}: \d+ bytes where"),
    "one byte less": (rewrite(SEG0, lambda data: data[:-1]), rf"{SEG0}: \d+ bytes where"),
    "one bit turned": (rewrite(SEG0, lambda data: bytes([data[0] ^ 1]) + data[1:]), f"{SEG0}: its SHA-256 is not"),
    "other samples": (rewrite("samples/inputs.npz", lambda data: data[::-1]), "samples/inputs.npz: its SHA-256"),
    "graphs swapped": (swap, r"components/seg\d/onnx-fp32/model.onnx: (its SHA-256|\d+ bytes)"),
}


@pytest.mark.parametrize(("attack", "message"), list(ATTACKS.values()), ids=list(ATTACKS))
def test_load_hostile_file_is_refused(
    bundle: Path, refusal: Refusal, attack: Callable[[Path], object], message: str
) -> None:
    attack(bundle)
    output = refusal(bundle)
    assert re.match(message, output), output
