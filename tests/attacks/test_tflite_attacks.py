"""TFLite graphs whose weights or options are in another file, or outside their own."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eetool_runtime.backends import Threads, backend_for, open_graph
from eetool_runtime.backends.side_files import tflite_refers
from eetool_runtime.errors import BackendError
from tests.helpers.backend_contract import GOLDEN
from tests.helpers.tiny_bundle import replace_file
from tests.helpers.tiny_litert_bundle import write_litert_bundle

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
if not hasattr(schema, "ExternalBufferT"):
    pytest.skip("this ai-edge-litert does not support weights in other files", allow_module_level=True)
flatbuffers = pytest.importorskip("flatbuffers")

SOUND = (GOLDEN / "weighted.tflite").read_bytes()
WRAPS = (1 << 64) - 8  # with 16 bytes behind it, an offset of 8 again


def group(model: Any) -> None:
    named = schema.ExternalBufferGroupT()
    named.name = b"side.bin"
    model.externalBufferGroups = [named]


def slice_of_group(model: Any) -> None:
    buffer = schema.ExternalBufferT()
    buffer.id, buffer.length = 1, 16
    model.externalBuffers = [buffer]


def tensor(model: Any) -> None:
    model.subgraphs[0].tensors[-1].externalBuffer = 1


def buffer(offset: int, size: int) -> Callable[[Any], None]:
    def attack(model: Any) -> None:
        model.buffers[-1].offset, model.buffers[-1].size = offset, size

    return attack


def options(offset: int, size: int) -> Callable[[Any], None]:
    def attack(model: Any) -> None:
        operator = model.subgraphs[0].operators[-1]
        operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize = offset, size

    return attack


ELSEWHERE, OUTSIDE = "its weights lie in another file", "lie outside the file"
ATTACKS: dict[str, tuple[Callable[[Any], None], str]] = {
    "file with weights": (group, ELSEWHERE),
    "part of a file": (slice_of_group, ELSEWHERE),
    "tensor in a file": (tensor, ELSEWHERE),
    "buffer behind the file": (buffer(1 << 40, 16), OUTSIDE),
    "buffer over the end": (buffer(64, 1 << 40), OUTSIDE),
    "buffer that wraps": (buffer(WRAPS, 16), OUTSIDE),
    "options behind the file": (options(1 << 40, 16), OUTSIDE),
    "options that wrap": (options(WRAPS, 16), OUTSIDE),
}


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def parsed(data: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))


def is_outside(model: Any) -> bool:
    """Return whether a parsed model refers to another file."""
    tensors = [t for graph in model.subgraphs or [] for t in graph.tensors or []]
    return bool(model.externalBufferGroups or model.externalBuffers or any(t.externalBuffer for t in tensors))


@pytest.mark.parametrize(("attack", "message"), list(ATTACKS.values()), ids=list(ATTACKS))
def test_open_tflite_file_with_data_elsewhere_is_refused(
    tmp_path: Path, attack: Callable[[Any], None], message: str
) -> None:
    model = parsed(SOUND)
    attack(model)
    path = tmp_path / "model.tflite"
    path.write_bytes(packed(model))
    with pytest.raises(BackendError, match=message):
        open_graph(path)
    with pytest.raises(BackendError, match=message):
        backend_for("tflite").open_shared(path, Threads(2))


@pytest.mark.parametrize(("attack", "message"), list(ATTACKS.values()), ids=list(ATTACKS))
def test_load_tflite_bundle_with_data_elsewhere_is_refused(
    tmp_path: Path, refuse_graph: Callable[[Path, str], None], attack: Callable[[Any], None], message: str
) -> None:
    model = parsed(SOUND)
    attack(model)
    bundle = write_litert_bundle(tmp_path)
    replace_file(bundle, "components/contract/tflite-fp32/model.tflite", packed(model))
    refuse_graph(bundle, "lies? outside the file" if message == OUTSIDE else message)


def test_tflite_refers_valid_file_is_accepted() -> None:
    assert not tflite_refers(SOUND)
    assert not tflite_refers(packed(parsed(SOUND)))


@pytest.mark.parametrize("size", range(0, len(SOUND), 7))
def test_tflite_refers_truncated_file_is_refused_or_has_no_reference(size: int) -> None:
    refers = False
    with contextlib.suppress(ValueError):
        refers = tflite_refers(SOUND[:size])
    assert not refers


def test_tflite_refers_damaged_files_equals_schema_parser() -> None:
    """References that the schema's own classes see are refused, and only ValueError is raised."""
    pick = random.Random(3)
    seeds = [SOUND]
    for attack in (group, slice_of_group, tensor):
        model = parsed(SOUND)
        attack(model)
        seeds.append(packed(model))
    seen = {"outside": 0, "accepted": 0, "unreadable": 0}
    for _ in range(3000):
        data = bytearray(pick.choice(seeds))
        for _ in range(pick.randint(1, 4)):
            data[pick.randrange(len(data))] = pick.choice((0, 1, 4, 255, pick.randrange(256)))
        try:
            refused = tflite_refers(bytes(data))
        except ValueError:
            seen["unreadable"] += 1
            continue
        seen["accepted"] += not refused
        try:
            outside = is_outside(parsed(bytes(data)))
        except Exception:  # the schema's classes raise whatever the bytes lead to
            continue
        assert refused or not outside
        seen["outside"] += outside
    assert all(count > 100 for count in seen.values()), seen
