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
    assert result.stdout.splitlines()[0] == "12 files have the sizes and hashes of the manifest"
    assert result.stdout.splitlines()[-1] == f"{bundle} computes what it records"
    document = cli("verify", bundle, "--json").document
    assert (document["schema"], document["bundle"]) == ("verify/1", str(bundle))
    assert all(check["passed"] for check in document["checks"])


def test_verify_changed_byte_names_file(refused: Any, bundle_copy: Path) -> None:
    content = bytearray((bundle_copy / HEAD).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / HEAD).write_bytes(content)
    refused(3, f"{HEAD}: its SHA-256 is not the one in the manifest", "verify", bundle_copy)


def test_verify_truncated_file_names_it(refused: Any, bundle_copy: Path) -> None:
    os.truncate(bundle_copy / HEAD, 1000)
    refused(3, f"{HEAD}: 1000 bytes where the manifest says", "verify", bundle_copy)


def test_verify_missing_file_names_it(refused: Any, bundle_copy: Path) -> None:
    (bundle_copy / HEAD).unlink()
    refused(3, f"{HEAD}: cannot be read: No such file", "verify", bundle_copy)


def test_verify_truncated_manifest_is_refused(refused: Any, bundle_copy: Path) -> None:
    os.truncate(bundle_copy / "manifest.json", 1000)
    refused(3, "manifest.json: it is not valid JSON", "verify", bundle_copy)


def test_verify_other_paths_are_refused(refused: Any, bundle: Path, tmp_path: Path) -> None:
    refused(3, "does not exist", "verify", tmp_path / "nowhere")
    refused(3, "is the manifest inside a bundle", "verify", bundle / "manifest.json")
    refused(3, "is a folder without models, bundles or images", "verify", tmp_path)


def test_verify_changed_weight_with_new_hash_fails_parity(refused: Any, bundle_copy: Path) -> None:
    manifest = open_bundle(bundle_copy).manifest
    model = onnx.load(bundle_copy / HEAD)
    (weight,) = [w for w in model.graph.initializer if w.name.endswith("classifier.weight")]
    weight.CopyFrom(numpy_helper.from_array(np.array(1.01 * numpy_helper.to_array(weight)), weight.name))
    onnx.save(model, bundle_copy / HEAD)
    write_manifest(bundle_copy, manifest)
    refused(4, "onnx/fp32 exit1_logits: error", "verify", bundle_copy)
