"""Pieces as ONNX files: the same numbers at every batch size, for old runtimes too, and no word about this machine."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from eetool.errors import ArtefactError
from eetool.export.converters.to_onnx import export_onnx
from eetool.export.split import ComponentModule, run_components
from eetool_runtime.backends import open_graph
from tests.helpers.networks import Case, build


class Exported:
    """A network whose every piece is a file in `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.case: Case = build(name)
        self.components = self.case.cut()
        self.folder = folder
        self.example = run_components(self.components, self.case.arguments(2))
        for piece in self.components:
            self.write(piece, self.path(piece))

    def path(self, piece: ComponentModule) -> Path:
        return self.folder / piece.name / "model.onnx"

    def write(self, piece: ComponentModule, path: Path) -> None:
        export_onnx(piece, [self.example[name] for name in piece.inputs], path)


@pytest.fixture(scope="module", params=["text", "time first", "frames"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(request.param, tmp_path_factory.mktemp("pieces"))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_export_onnx_files_compute_what_the_network_computes(exported: Exported, batch: int) -> None:
    arguments = exported.case.arguments(batch)
    tensors = {name: x.numpy() for name, x in arguments.items()}
    for piece in exported.components:
        graph = open_graph(exported.path(piece))
        tensors.update(zip(graph.outputs, graph.run({n: tensors[n] for n in graph.inputs}), strict=True))
    for name, expected in exported.case.expected(arguments).items():
        assert np.allclose(tensors[name], expected.numpy(), atol=1e-4), name


def test_export_onnx_names_are_those_of_the_components(exported: Exported) -> None:
    for piece in exported.components:
        graph = open_graph(exported.path(piece))
        assert tuple(graph.inputs) == piece.inputs
        assert tuple(graph.outputs) == piece.outputs


def test_export_onnx_only_the_batch_size_is_dynamic(exported: Exported) -> None:
    for piece in exported.components:
        graph = open_graph(exported.path(piece))
        for name, tensor in {**graph.inputs, **graph.outputs}.items():
            assert [isinstance(size, str) for size in tensor.shape] == [
                not isinstance(size, int) for size in piece.shapes[name]
            ]


def test_export_onnx_versions_suit_old_runtimes(exported: Exported) -> None:
    for piece in exported.components:
        model = onnx.load(exported.path(piece))
        onnx.checker.check_model(model, full_check=True)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
        assert model.ir_version == 8
        assert not model.functions
        graph = model.graph
        for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
            assert not item.metadata_props
            assert not item.doc_string


def test_export_onnx_file_holds_no_path_of_this_machine(exported: Exported) -> None:
    places = {str(Path.home()), str(Path.cwd()), str(Path(torch.__file__).parent), sys.prefix, __file__}
    for piece in exported.components:
        content = exported.path(piece).read_bytes()
        assert not [place for place in places if place.encode() in content]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported("no exits", tmp_path_factory.mktemp("small"))


def test_export_onnx_second_export_gives_the_same_bytes(small: Exported, tmp_path: Path) -> None:
    (piece,) = small.components
    small.write(piece, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == small.path(piece).read_bytes()


def test_export_onnx_simplified_graph_computes_the_same(small: Exported, tmp_path: Path) -> None:
    (piece,) = small.components
    export_onnx(piece, [small.example[name] for name in piece.inputs], tmp_path / "plain.onnx", simplify=False)
    feed = {name: small.example[name].numpy() for name in piece.inputs}
    plain, simple = (open_graph(path).run(feed) for path in (tmp_path / "plain.onnx", small.path(piece)))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(plain, simple, strict=True))


class Unsupported(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.linalg.eigvals(x).real,)


def test_export_onnx_unknown_operator_raises_artefact_error(small: Exported, tmp_path: Path) -> None:
    (piece,) = small.components
    unknown = replace(piece, module=torch.fx.symbolic_trace(Unsupported()), inputs=("x",), shapes={"x": (2, 3, 3)})
    with pytest.raises(ArtefactError, match=r"torch\.onnx\.export failed: .*linalg_eig"):
        export_onnx(unknown, [torch.randn(2, 3, 3)], tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
