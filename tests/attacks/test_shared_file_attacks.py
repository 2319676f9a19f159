"""TFLite files that should hold all components of a variant, and do not: both runtimes refuse them in the same way."""

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import eetool_runtime as ee
from eetool_runtime.errors import BackendError, BundleError, EarlyExitError
from tests.helpers.backend_contract import GOLDEN
from tests.helpers.native_build import litert_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import write_manifest
from tests.helpers.tiny_litert_bundle import write_litert_bundle

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
flatbuffers = pytest.importorskip("flatbuffers")

Refusal = Callable[[Path], str]
SHARED = "components/tflite-fp32/model.tflites"


def change(path: Path, edit: Callable[[Any], None]) -> None:
    document = json.loads((path / "manifest.json").read_text())
    edit(document)
    write_manifest(path, document)


def replace_file(path: Path, data: bytes, name: str = SHARED) -> None:
    """Write other bytes, and their size and hash into the manifest."""
    (path / name).write_bytes(data)
    record = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    change(path, lambda document: document["files"].update({name: record}))


def model_of(path: Path) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs((path / SHARED).read_bytes()))


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


MANIFESTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "version without shared files": (
        lambda d: d.update(schema_version="1.0"),
        f"variants.tflite/fp32: '{SHARED}' is no tflite file of version 1.0",
    ),
    "file that is not listed": (lambda d: d["files"].pop(SHARED), f"'{SHARED}' is used and not listed"),
    "file for one component only": (
        lambda d: d["variants"]["tflite/fp32"]["components"]["answer"].update(path="components/answer.tflite"),
        f"variants.tflite/fp32: all components must be in '{SHARED}', or none",
    ),
    "reference": (
        lambda d: d["variants"]["tflite/fp32"].update(references={"unsplit": SHARED}),
        f"variants.tflite/fp32: '{SHARED}' is no tflite file",
    ),
    "signature in the manifest": (
        lambda d: d["variants"]["tflite/fp32"]["components"]["answer"].update(signature="answer"),
        "components.answer.signature: unknown field",
    ),
    "other hash": (lambda d: d["files"][SHARED].update(sha256="0" * 64), f"{SHARED}: its SHA-256 is not"),
    "other size": (
        lambda d: d["files"][SHARED].update(size_bytes=1),
        rf"{SHARED}: \d+ bytes where the manifest says 1",
    ),
}


@pytest.mark.parametrize(("edit", "message"), list(MANIFESTS.values()), ids=list(MANIFESTS))
def test_load_hostile_manifest_of_shared_file_is_refused(
    tmp_path: Path, refusal: Refusal, edit: Callable[[Any], None], message: str
) -> None:
    path = write_litert_bundle(tmp_path, shared=True)
    change(path, edit)
    assert_matches(message, refusal(path))


def edited(edit: Callable[[Any], None]) -> Callable[[Path], bytes]:
    def attack(path: Path) -> bytes:
        model = model_of(path)
        edit(model)
        return packed(model)

    return attack


def renamed(*keys: bytes) -> Callable[[Path], bytes]:
    def edit(model: Any) -> None:
        for index, key in enumerate(keys):
            model.signatureDefs[index].signatureKey = key

    return edited(edit)


def drop_last(model: Any) -> None:
    model.signatureDefs.pop()


def same_graph(model: Any) -> None:
    model.signatureDefs[1].subgraphIndex = 0


def graph_beyond(model: Any) -> None:
    model.signatureDefs[1].subgraphIndex = 99


def tensor_beyond(model: Any) -> None:
    model.signatureDefs[1].outputs[0].tensorIndex = 999


def external(model: Any) -> None:
    model.subgraphs[1].tensors[0].externalBuffer = 1


GRAPHS: dict[str, tuple[Callable[[Path], bytes], type[EarlyExitError], str]] = {
    "one component alone": (
        lambda path: (GOLDEN / "contract.tflite").read_bytes(),
        BundleError,
        f"{SHARED}: has the signatures .*; the manifest says .*answer.*contract",
    ),
    "signature missing": (edited(drop_last), BundleError, "has the signatures"),
    "signature of another name": (renamed(b"contract", b"reply"), BundleError, "has the signatures .*reply"),
    "names exchanged": (renamed(b"answer", b"contract"), BundleError, "contract: its graph has the inputs"),
    "name twice": (renamed(b"answer", b"answer"), EarlyExitError, ""),
    "control characters": (renamed(b"contract", b"\x1b[2J"), BundleError, "has the signatures"),
    "graph of another": (edited(same_graph), EarlyExitError, ""),
    "graph that is not there": (edited(graph_beyond), EarlyExitError, ""),
    "tensor that is not there": (edited(tensor_beyond), EarlyExitError, ""),
    "weights elsewhere": (edited(external), BackendError, "its weights lie in another file"),
    "cut off": (lambda path: (path / SHARED).read_bytes()[:-300], BackendError, SHARED),
}


@pytest.mark.parametrize(("attack", "kind", "message"), list(GRAPHS.values()), ids=list(GRAPHS))
def test_load_hostile_shared_file_is_refused(
    tmp_path: Path,
    native_or_none: Library | None,
    attack: Callable[[Path], bytes],
    kind: type[EarlyExitError],
    message: str,
) -> None:
    path = write_litert_bundle(tmp_path, shared=True)
    replace_file(path, attack(path))
    loads: list[Callable[[Path], object]] = [ee.load]
    if native_or_none is not None and litert_library() is not None:
        loads.append(partial(native_or_none.load, engine=litert_library()))
    for load in loads:
        with pytest.raises(kind) as caught:
            load(path)
        assert caught.value.message.isprintable()
        assert_matches(message, caught.value.message)


def test_load_onnx_variant_of_one_file_is_refused(bundle: Path, refusal: Refusal) -> None:
    def share(document: Any) -> None:
        document["schema_version"] = "1.1"
        for graph in document["variants"]["onnx/fp32"]["components"].values():
            graph["path"] = SHARED

    change(bundle, share)
    assert_matches(f"variants.onnx/fp32: '{SHARED}' is no onnx file of version 1.1", refusal(bundle))


def test_load_file_of_several_graphs_for_one_component_is_refused(
    tmp_path: Path, native_or_none: Library | None
) -> None:
    path, name = write_litert_bundle(tmp_path), "components/answer/tflite-fp32/model.tflite"
    replace_file(path, (GOLDEN / "contract_and_answer.tflite").read_bytes(), name)
    with pytest.raises(BackendError, match="2 Signatures"):
        ee.load(path)
    if native_or_none is not None and litert_library() is not None:
        with pytest.raises(BackendError, match="has 2 signatures, not 1"):
            native_or_none.load(path, engine=litert_library())


def assert_matches(pattern: str, message: str) -> None:
    assert re.search(pattern, message), message
