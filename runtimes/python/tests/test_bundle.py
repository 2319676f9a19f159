"""Opening of bundles: incomplete or changed copies are refused."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from eetool_runtime import bundle as bundle_module
from eetool_runtime import open_bundle
from eetool_runtime.errors import BundleError, UsageError
from tests.helpers.tiny_bundle import write_manifest, write_tiny_bundle

SEGMENT = "components/seg0/onnx-fp32/model.onnx"
SAMPLES = "samples/inputs.npz"


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value.message


def test_open_bundle_intact_returns_manifest(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    assert bundle.manifest.name == "tiny"
    assert bundle.file(SEGMENT) == tiny_bundle / "components" / "seg0" / "onnx-fp32" / "model.onnx"
    assert open_bundle(str(tiny_bundle)).manifest == bundle.manifest


def test_write_tiny_bundle_twice_gives_same_bytes(tmp_path: Path) -> None:
    one, two = (write_tiny_bundle(tmp_path / folder) for folder in ("one", "two"))
    for file in sorted(one.rglob("*.*")):
        assert file.read_bytes() == (two / file.relative_to(one)).read_bytes(), file


def test_open_bundle_through_link_succeeds(tiny_bundle: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.eebundle"
    link.symlink_to(tiny_bundle)
    assert open_bundle(link).manifest.name == "tiny"


def test_open_bundle_unlisted_files_are_ignored(tiny_bundle: Path) -> None:
    (tiny_bundle / "NOTES.txt").write_text("mine", encoding="utf-8")
    open_bundle(tiny_bundle)


def test_open_bundle_absent_path_raises_bundle_error(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").endswith("none: does not exist")


def test_open_bundle_file_raises_bundle_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello", encoding="utf-8")
    assert refusal(tmp_path / "file").endswith("file: is not a directory")


def test_open_bundle_empty_folder_raises_bundle_error(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "manifest.json: cannot be read: No such file or directory"


@pytest.mark.parametrize("name", [SEGMENT, SAMPLES, "reference/unsplit/onnx-fp32/model.onnx"])
@pytest.mark.parametrize("place", [0, -1])
def test_open_bundle_changed_byte_raises_bundle_error(tiny_bundle: Path, name: str, place: int) -> None:
    data = bytearray((tiny_bundle / name).read_bytes())
    data[place] ^= 1
    (tiny_bundle / name).write_bytes(data)
    assert refusal(tiny_bundle) == f"{name}: its SHA-256 is not the one in the manifest; it was changed"


def test_open_bundle_truncated_file_raises_bundle_error(tiny_bundle: Path) -> None:
    data = (tiny_bundle / SEGMENT).read_bytes()
    (tiny_bundle / SEGMENT).write_bytes(data[:-1])
    assert refusal(tiny_bundle) == f"{SEGMENT}: {len(data) - 1} bytes where the manifest says {len(data)}"


def test_open_bundle_missing_file_raises_bundle_error(tiny_bundle: Path) -> None:
    (tiny_bundle / SEGMENT).unlink()
    assert refusal(tiny_bundle) == f"{SEGMENT}: cannot be read: No such file or directory"


def test_open_bundle_link_to_file_raises_bundle_error(tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.move(tiny_bundle / SEGMENT, tmp_path / "outside.onnx")
    (tiny_bundle / SEGMENT).symlink_to(tmp_path / "outside.onnx")
    assert refusal(tiny_bundle) == f"{SEGMENT}: not a plain file"


@pytest.mark.parametrize("folder", ["components", "components/seg0", "components/seg0/onnx-fp32"])
def test_open_bundle_link_to_folder_raises_bundle_error(tiny_bundle: Path, tmp_path: Path, folder: str) -> None:
    shutil.move(tiny_bundle / folder, tmp_path / "outside")
    (tiny_bundle / folder).symlink_to(tmp_path / "outside")
    output = refusal(tiny_bundle)
    assert output.endswith("model.onnx: its folder is a link; links are not allowed in a bundle")


def test_open_bundle_linked_manifest_raises_bundle_error(tiny_bundle: Path, tmp_path: Path) -> None:
    shutil.move(tiny_bundle / "manifest.json", tmp_path / "outside.json")
    (tiny_bundle / "manifest.json").symlink_to(tmp_path / "outside.json")
    assert refusal(tiny_bundle) == "manifest.json: not a plain file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", [SEGMENT, "manifest.json"])
def test_open_bundle_pipe_raises_bundle_error_without_waiting(tiny_bundle: Path, name: str) -> None:
    (tiny_bundle / name).unlink()
    os.mkfifo(tiny_bundle / name)
    assert refusal(tiny_bundle) == f"{name}: not a plain file"


def test_open_bundle_folder_as_file_raises_bundle_error(tiny_bundle: Path) -> None:
    (tiny_bundle / SEGMENT).unlink()
    (tiny_bundle / SEGMENT).mkdir()
    assert refusal(tiny_bundle) == f"{SEGMENT}: not a plain file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is readable to root")
@pytest.mark.parametrize("name", [SEGMENT, "manifest.json"])
def test_open_bundle_unreadable_file_raises_bundle_error(tiny_bundle: Path, name: str) -> None:
    (tiny_bundle / name).chmod(0)
    assert refusal(tiny_bundle) == f"{name}: cannot be read: Permission denied"


def test_open_bundle_checks_manifest_before_files(tiny_bundle: Path) -> None:
    document = json.loads((tiny_bundle / "manifest.json").read_text(encoding="utf-8"))
    (tiny_bundle / SEGMENT).unlink()
    write_manifest(tiny_bundle, {**document, "score": ""})
    assert "'' is not a name" in refusal(tiny_bundle)


def test_variant_unknown_name_lists_known_variants(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="has no variant 'onnx/int8'") as caught:
        open_bundle(tiny_bundle).variant("onnx/int8")
    assert caught.value.hint == "It has: onnx/fp32."


def test_arrays_samples_are_returned_by_name(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    assert bundle.arrays(SAMPLES)["input"].shape == (16, 1, 4, 4)
    expected = bundle.arrays(bundle.variant("onnx/fp32").samples)
    assert set(expected) == {f"exit{k}_logits" for k in range(3)} | {"exit_full", "exit_balanced", "exit_fast"}


def npz(**arrays: object) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


HUGE = npy(np.zeros(4, np.float32)).replace(b"(4,), }" + b" " * 12, b"(4" + b"0" * 12 + b",), }")
BAD_ARCHIVES = {
    "empty": b"",
    "text": b"hello",
    "one array": npy(np.zeros(3)),
    "truncated": npz(input=np.zeros(100))[:-40],
    "damaged": npz(input=np.zeros(100)).replace(b"NUMPY", b"NUMPX"),
    "header only": b"PK\x03\x04" + bytes(100),
    "objects": npz(input=np.array([{"a": 1}, print], dtype=object)),
    "text inside": zipped("input.npy", b"hello"),
    "false size": zipped("input.npy", HUGE),
}


@pytest.mark.parametrize("data", list(BAD_ARCHIVES.values()), ids=list(BAD_ARCHIVES))
def test_arrays_not_plain_arrays_raises_bundle_error(tiny_bundle: Path, data: bytes) -> None:
    bundle = open_bundle(tiny_bundle)
    bundle.file(SAMPLES).write_bytes(data)
    with pytest.raises(BundleError, match=rf"^{SAMPLES}: not a readable \.npz file: "):
        bundle.arrays(SAMPLES)


def test_arrays_beyond_memory_limit_raises_bundle_error(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = open_bundle(tiny_bundle)
    bundle.file(SAMPLES).write_bytes(zipped("input.npy", npy(np.zeros(10_000))))
    bundle.arrays(SAMPLES)
    monkeypatch.setattr(bundle_module, "_MAX_UNPACKED_BYTES", 80_000)
    with pytest.raises(BundleError, match="80128 bytes unpacked; at most 80000 are allowed"):
        bundle.arrays(SAMPLES)
