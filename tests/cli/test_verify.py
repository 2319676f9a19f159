"""`eetool verify`: what a changed bundle looks like from outside."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from eetool.export.bundle_files import write_manifest
from eetool_runtime import open_bundle

HEAD = "components/exit1/onnx-fp32/model.onnx"


def test_verify_intact_bundle_passes(cli: Any, bundle: Path) -> None:
    result = cli("verify", bundle)
    assert result.code == 0
    assert result.stdout.splitlines()[0] == "9 files have the sizes and hashes of the manifest"
    assert result.stdout.splitlines()[-1] == f"{bundle} computes what it records"
    document = cli("verify", bundle, "--json").document
    assert (document["schema"], document["bundle"]) == ("verify/1", str(bundle))
    assert all(check["passed"] for check in document["checks"])


def test_verify_changed_byte_names_file(refused: Any, spoilable: Path) -> None:
    content = bytearray((spoilable / HEAD).read_bytes())
    content[len(content) // 2] ^= 1
    (spoilable / HEAD).write_bytes(content)
    refused(3, f"{HEAD}: its SHA-256 is not the one in the manifest", "verify", spoilable)


def test_verify_truncated_file_names_it(refused: Any, spoilable: Path) -> None:
    os.truncate(spoilable / HEAD, 1000)
    refused(3, f"{HEAD}: 1000 bytes where the manifest says", "verify", spoilable)


def test_verify_missing_file_names_it(refused: Any, spoilable: Path) -> None:
    (spoilable / HEAD).unlink()
    refused(3, f"{HEAD}: cannot be read: No such file", "verify", spoilable)


def test_verify_truncated_manifest_is_refused(refused: Any, spoilable: Path) -> None:
    os.truncate(spoilable / "manifest.json", 1000)
    refused(3, "manifest.json: it is not valid JSON", "verify", spoilable)


def test_verify_other_paths_are_refused(refused: Any, bundle: Path, tmp_path: Path) -> None:
    refused(3, "does not exist", "verify", tmp_path / "nowhere")
    refused(3, "is not a directory", "verify", bundle / "manifest.json")
    refused(3, "manifest.json: cannot be read", "verify", tmp_path)


def test_verify_changed_weight_with_new_hash_fails_parity(refused: Any, spoilable: Path) -> None:
    manifest = open_bundle(spoilable).manifest
    model = onnx.load(spoilable / HEAD)
    (weight,) = [w for w in model.graph.initializer if w.name.endswith("classifier.weight")]
    weight.CopyFrom(numpy_helper.from_array(np.array(1.01 * numpy_helper.to_array(weight)), weight.name))
    onnx.save(model, spoilable / HEAD)
    write_manifest(spoilable, manifest)
    refused(4, "onnx/fp32 exit1_logits: error", "verify", spoilable)
