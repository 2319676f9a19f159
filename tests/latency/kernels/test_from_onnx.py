"""Fused kernels of ONNX files, compared with the graphs that ONNX Runtime optimises."""

from collections import Counter
from pathlib import Path

import pytest

from eetool.errors import ArtefactError
from eetool.graphs.onnx_graph import graph_from_model, read_graph
from eetool.latency.kernels.from_onnx import kernels_from_file, kernels_from_graph, total_macs, unknown_operators
from eetool.latency.kernels.kernel import EXPONENTIAL_PASS, FUSED, PASS, complete_shape, work
from eetool.latency.kernels.onnx_fusion import fuse_graph
from eetool.latency.probes.probe_files import ProbeKind, kernels_of_probe, write_probes
from eetool.latency.probes.probe_network import ProbeNetwork
from tests.helpers.onnx_graphs import CONV, NETWORK, channel_block, counted, model, optimised, save

HEAD = '<ir_version: 8, opset_import: ["" : 18, "my.own" : 1]>'


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> int:
    return channel_block(tmp_path_factory.mktemp("block"))


def predicted(path: Path, block: int) -> Counter[str]:
    def named(step: object) -> str:
        op, blocked = step.node.op, step.blocked  # type: ignore[attr-defined]
        as_conv = op in ("BatchNormalization", "Mul") and blocked and len(step.reads) == 1  # type: ignore[attr-defined]
        if op == "Conv" or as_conv:
            return "Conv" + ":act" * step.activation + ":add" * step.added  # type: ignore[attr-defined]
        return str(op)

    return Counter(named(step) for step in fuse_graph(read_graph(path), block))


def test_fuse_graph_network_matches_runtime(tmp_path: Path, block: int) -> None:
    path = save(model(), tmp_path / "net.onnx")
    assert predicted(path, block) == counted(optimised(path, tmp_path))


@pytest.mark.parametrize(
    "net", [ProbeNetwork("residual", 8), ProbeNetwork("inverted", 2), ProbeNetwork("dense", 3)], ids=str
)
def test_fuse_graph_random_network_matches_runtime(tmp_path: Path, block: int, net: ProbeNetwork) -> None:
    path = save(net.model(), tmp_path / "net.onnx")
    expected = counted(optimised(path, tmp_path))
    # The runtime renames products with an activation; here they stay Gemm.
    expected["Gemm"] += expected.pop("FusedGemm", 0)
    assert predicted(path, block) == expected


@pytest.mark.parametrize("width", [12, 15, 16])
def test_fuse_graph_depthwise_widths_match_runtime(tmp_path: Path, block: int, width: int) -> None:
    text = f"""{HEAD} g (float[1,3,8,8] x) => (float[1,{width},8,8] y) {{
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        y = Conv <pads = [1, 1, 1, 1], group = {width}> (a, v)
    }}"""
    net = model(text, {"w": (width, 3, 3, 3), "v": (width, 1, 3, 3)})
    path = save(net, tmp_path / "net.onnx")
    assert predicted(path, block) == counted(optimised(path, tmp_path))


@pytest.mark.parametrize(("first", "second"), [("x1", "c"), ("c", "x1")], ids=["second", "first"])
def test_fuse_graph_factor_per_channel_matches_runtime(tmp_path: Path, block: int, first: str, second: str) -> None:
    text = f"""{HEAD} g (float[1,16,8,8] x) => (float[1,16,8,8] y) {{
        x1 = Conv <pads = [1, 1, 1, 1]> (x, w)
        x2 = Mul ({first}, {second})
        y = Conv <pads = [1, 1, 1, 1]> (x2, v)
    }}"""
    net = model(text, {"w": (16, 16, 3, 3), "v": (16, 16, 3, 3), "c": (16, 1, 1)})
    path = save(net, tmp_path / "net.onnx")
    assert predicted(path, block) == counted(optimised(path, tmp_path))


def test_fuse_graph_transposition_to_channels_last_matches_runtime(tmp_path: Path, block: int) -> None:
    text = f"""{HEAD} g (float[1,16,8,8] x) => (float[1,8,8,16] y) {{
        x1 = Conv <pads = [1, 1, 1, 1]> (x, w)
        x2 = Transpose <perm = [0, 2, 3, 1]> (x1)
        y = Add (x2, c)
    }}"""
    path = save(model(text, {"w": (16, 16, 3, 3), "c": (16,)}), tmp_path / "net.onnx")
    assert predicted(path, block) == counted(optimised(path, tmp_path))


@pytest.mark.parametrize("batch", ["1", "N"])
def test_fuse_graph_bias_of_product_is_fused_where_sizes_are_fixed(tmp_path: Path, batch: str) -> None:
    text = f"""{HEAD} g (float[{batch},12,16] x) => (float[{batch},12,8] y) {{
        x1 = MatMul (x, w)
        y = Add (x1, c)
    }}"""
    path = save(model(text, {"w": (16, 8), "c": (8,)}), tmp_path / "net.onnx")
    (product, *rest) = kernels_from_file(path)
    runtime = counted(optimised(path, tmp_path))
    assert (product.kind, product.shape["rows"]) == ("linear", 12)
    assert len(rest) == runtime["Add"] == (batch == "N")


def test_kernels_from_file_have_sizes_of_the_file(tmp_path: Path) -> None:
    kernels = kernels_from_file(save(model(), tmp_path / "net.onnx"))
    assert [k.kind for k in kernels] == [
        *("conv", "conv", "conv", "depthwise", "pool", "conv", "layout", "norm", "elementwise", "conv"),
        *("global_pool", "linear"),
    ]
    assert kernels[0].ops == ("Conv", "BatchNormalization", "Relu")
    summed = complete_shape("conv", kernels[2].shape)
    assert (summed["in_channels"], summed["height"], summed["add"], summed["activation"]) == (16, 16, 1, 1)
    assert kernels[4].shape["out_height"] == 8
    assert kernels[-1].shape == {"in_features": 8, "out_features": 10, "rows": 1, "activation": 0}
    convs = 256 * 9 * (16 * 3 + 16 * 16 * 2 + 16) + 64 * (12 * 16 + 8 * 28 * 9)
    assert total_macs(kernels) == convs + 80


def test_kernels_from_graph_channel_blocks_add_reorders() -> None:
    kernels = kernels_from_graph(graph_from_model(model(), "net"), 8)
    assert [k.shape["blocked"] for k in kernels if k.kind == "layout" and k.shape.get("blocked")] == [2, 2, 1, 2]
    assert (
        sum(
            k.kind == "layout" and k.shape.get("blocked", 0) > 0
            for k in kernels_from_graph(graph_from_model(model(), "net"))
        )
        == 0
    )


def test_kernels_from_graph_without_sum_fusion_keeps_sums() -> None:
    assert [k.kind for k in kernels_from_graph(graph_from_model(model(), "net"), 1, sums=False)].count(
        "elementwise"
    ) == 3


def test_kernels_from_file_unknown_operator_is_other(tmp_path: Path) -> None:
    text = f"""{HEAD} g (float[batch,4,8,8] x) => (float[batch,4,8,8] y) {{
        a = my.own.Twist (x)
        y = Relu (a)
    }}"""
    kernels = kernels_from_file(save(model(text), tmp_path / "net.onnx"))
    assert unknown_operators(kernels) == ["my.own.Twist"]
    assert [(k.kind, k.shape["elements"]) for k in kernels] == [("other", 256), ("elementwise", 256)]


def test_kernels_from_file_int8_group_is_one_kernel(tmp_path: Path) -> None:
    text = f"""{HEAD} g (float[batch,8,8,8] x) => (float[batch,4,8,8] y) {{
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        c = Conv <kernel_shape=[1,1]> (d, w)
        r = Relu (c)
        p = QuantizeLinear (r, s, z)
        y = DequantizeLinear (p, s, z)
    }}"""
    import numpy as np

    kernels = kernels_from_file(
        save(model(text, {"w": (4, 8, 1, 1)}, s=np.float32(1), z=np.uint8(0)), tmp_path / "net.onnx")
    )
    assert [(k.kind, k.precision) for k in kernels] == [
        ("elementwise", "int8"), ("layout", "int8"), ("conv", "int8"), ("elementwise", "int8"), ("layout", "int8"),
    ]  # fmt: skip
    assert kernels[2].shape["activation"] == 1


def test_int8_layout_transpositions_match_runtime(tmp_path: Path) -> None:
    kind = ProbeKind("onnx", "int8")
    write_probes(tmp_path / "probes", [ProbeNetwork("plain", 0), ProbeNetwork("residual", 1)], kind)
    for net in (ProbeNetwork("plain", 0), ProbeNetwork("residual", 1)):
        runs = optimised(tmp_path / "probes" / f"{net.name}.onnx", tmp_path)
        expected = Counter(kernel.ops[0] for kernel in kernels_of_probe(net, kind))
        assert expected["Transpose"] == sum(node.op_type == "Transpose" for node in runs.graph.node)
        assert expected["Conv"] == sum(node.op_type == "QLinearConv" for node in runs.graph.node)


def test_kernels_from_graph_batch_in_second_dimension_is_one() -> None:
    text = f"{HEAD} g (float[6,batch,8] x) => (float[6,batch,3] y) {{ y = MatMul (x, w) }}"
    (kernel,) = kernels_from_graph(graph_from_model(model(text, {"w": (8, 3)}), "here"))
    assert (kernel.kind, kernel.shape["rows"], kernel.macs) == ("linear", 6, 6 * 8 * 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "holds no operators"),
        (b"\xff\xff\xff", "cannot be read as an ONNX file"),
        (model(NETWORK.replace("batch,3,16,16", "batch,3,H,16")).SerializeToString(), "no fixed size in dimension 2"),
    ],
)
def test_kernels_from_file_invalid_raises_artefact_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtefactError, match=message):
        kernels_from_file(path)


@pytest.mark.parametrize(
    ("activation", "alone", "in_blocks"),
    [("Relu (c)", FUSED, FUSED), ("Clip (c, low, high)", FUSED, PASS), ("Sigmoid (c)", FUSED, EXPONENTIAL_PASS)],
)
def test_kernels_from_graph_in_blocks_only_relu_is_fused(activation: str, alone: int, in_blocks: int) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 18]> one (float[1,16,8,8] x) => (float[1,16,8,8] y) '
        f"{{ c = Conv {CONV} (x, w) y = {activation} }}"
    )
    graph = graph_from_model(model(text, {"w": (16, 16, 3, 3)}), "one")
    for block, expected in ((1, alone), (8, in_blocks)):
        (conv,) = (kernel for kernel in kernels_from_graph(graph, block) if kernel.kind == "conv")
        assert conv.shape["activation"] == expected


BATCHED = """<ir_version: 8, opset_import: ["" : 18]>
net (float[{n},4,6,6] x) => (float[n, k] y) {{
    c = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w)
    g = Conv <kernel_shape=[3,3], pads=[1,1,1,1], group=2> (c, wg)
    d = Conv <kernel_shape=[3,3], pads=[1,1,1,1], group=8> (g, wd)
    p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (d)
    t = ConvTranspose <kernel_shape=[3,3], strides=[2,2]> (p, wt)
    m = GlobalAveragePool (t)
    f = Flatten (m)
    y = Gemm <transB=1> (f, wy)
}}"""
WEIGHTS = {"w": (8, 4, 3, 3), "wg": (8, 4, 3, 3), "wd": (8, 1, 3, 3), "wt": (8, 5, 3, 3), "wy": (10, 5)}
MACS = 36 * 9 * (8 * 4 + 8 * 4 + 8) + 8 * 9 * 5 * 9 + 50  # of one example


@pytest.mark.parametrize(("batch", "count"), [("n", 1), ("1", 1), ("8", 8)])
def test_kernels_from_file_count_macs_and_bytes_at_the_batch_of_the_file(
    tmp_path: Path, batch: str, count: int
) -> None:
    path = save(model(BATCHED.format(n=batch), WEIGHTS), tmp_path / "net.onnx")
    kernels = kernels_from_file(path)
    assert total_macs(kernels) == count * MACS
    assert read_graph(path).batches == {"x": count}
    by_kind = {kernel.ops[0] + kernel.kind: work(kernel) for kernel in kernels}
    assert by_kind["Convdepthwise"].read_bytes == count * 8 * 36 * 4
    assert by_kind["Convdepthwise"].weight_bytes == 8 * 9 * 4
    assert by_kind["MaxPoolpool"].written_bytes == count * 8 * 9 * 4
    assert by_kind["GlobalAveragePoolglobal_pool"].written_bytes == count * 5 * 4


@pytest.mark.parametrize(
    ("inputs", "node", "weights", "macs"),
    [
        ("float[3,4,5] a, float[3,5,6] b", 'Einsum <equation = "bij, bjk -> bik"> (a, b)', {}, 3 * 4 * 5 * 6),
        ("float[3,2,4,5] a, float[5,6] b", 'Einsum <equation = "...ij,jk->...ik"> (a, b)', {}, 3 * 2 * 4 * 5 * 6),
        ("float[3,4,5] a", 'Einsum <equation = "bij->bji"> (a)', {}, 0),
        ("float[2,3,4,4,4] a", "Conv <kernel_shape=[2,2,2]> (a, w)", {"w": (5, 3, 2, 2, 2)}, 2 * 5 * 27 * 24),
        ("float[5,2,7] a", "LSTM <hidden_size = 3> (a, w, r)", {"w": (1, 12, 7), "r": (1, 12, 3)}, 10 * 12 * 10),
        (
            "float[2,5,7] a",
            "GRU <hidden_size = 3, layout = 1> (a, w, r)",
            {"w": (1, 9, 7), "r": (1, 9, 3)},
            10 * 9 * 10,
        ),
        ("float[3,4] a, float[5,4] b", "Gemm <transB = 1> (a, b)", {}, 3 * 4 * 5),
        ("float[4,3] a, float[4,5] b", "Gemm <transA = 1> (a, b)", {}, 3 * 4 * 5),
        ("float[8,3,4] a, float[8,4,5] b", "MatMul (a, b)", {}, 8 * 3 * 4 * 5),
        ("float[2,1,3,4] a, float[7,4,5] b", "MatMul (a, b)", {}, 2 * 7 * 3 * 4 * 5),
        ("float[3,4] a, float[4] b", "MatMul (a, b)", {}, 3 * 4),
        ("float[3,4] a, uint8[4,5] b", "my.own.Twist (a, b)", {}, 0),
    ],
)
def test_kernels_from_file_operators_have_macs_of_their_definition(
    tmp_path: Path, inputs: str, node: str, weights: dict[str, tuple[int, ...]], macs: int
) -> None:
    net = model(f"{HEAD} g ({inputs}) => (float[n] y) {{ y = {node} }}", weights)
    assert total_macs(kernels_from_file(save(net, tmp_path / "net.onnx"))) == macs


@pytest.mark.parametrize(
    ("inputs", "node", "run"),
    [
        ("float[1,2,8,5,5] a", "Transpose <perm = [0,2,1,3,4]> (a)", 25),  # a shuffle of channels
        ("float[1,1,8,5] a", "Transpose <perm = [0,2,1,3]> (a)", 40),  # nothing moves
        ("float[1,8,5,6] a", "Transpose <perm = [0,2,3,1]> (a)", 1),
        ("float[3,4] a", "Transpose (a)", 1),
        ("float[1,4,6,6] a, float[1,8,6,6] b", "Concat <axis = 1> (a, b)", 4 * 36),
        ("float[1,6,6,4] a, float[1,6,6,8] b", "Concat <axis = 3> (a, b)", 4),
        ("float[1,4,16,16] a", "DepthToSpace <blocksize = 2> (a)", 1),
        ("float[7,5] a, int64[1,3] b", "Gather (a, b)", 5),
    ],
)
def test_kernels_from_file_copies_have_the_run_that_stays_together(
    tmp_path: Path, inputs: str, node: str, run: int
) -> None:
    net = model(f"{HEAD} g ({inputs}) => (float[n] y) {{ y = {node} }}", {})
    (kernel,) = kernels_from_file(save(net, tmp_path / "net.onnx"))
    assert (kernel.shape["run"], kernel.shape["strided"]) == (run, int(run == 1))


def test_kernels_from_file_parts_of_a_split_have_their_own_run(tmp_path: Path) -> None:
    split = "p, q = Split <axis = 1, num_outputs = 2> (a)"
    net = model(f"{HEAD} g (float[1,8,5,5] a) => (float[n] p, float[m] q) {{ {split} }}", {})
    (kernel,) = kernels_from_file(save(net, tmp_path / "net.onnx"))
    assert kernel.shape["run"] == 4 * 25


def test_read_graph_functions_are_counted_and_branches_refused(tmp_path: Path) -> None:
    text = f"""{HEAD} g (float[2,4] x) => (float[2,5] y) {{ y = my.own.Layer (x, w) }}
    <opset_import: ["" : 18], domain: "my.own"> Layer (a, b) => (c) {{ c = MatMul (a, b) }}"""
    assert total_macs(kernels_from_file(save(model(text, {"w": (4, 5)}), tmp_path / "net.onnx"))) == 40
    branch = "{ z = MatMul (x, w) }"
    text = f"""{HEAD} g (float[2,4] x, bool[1] c) => (float[2,5] y) {{
        y = If (c) <then_branch = t () => (float[2,5] z) {branch}, else_branch = e () => (float[2,5] z) {branch}>
    }}"""
    with pytest.raises(ArtefactError, match="If 'y' runs its operators in some cases only"):
        kernels_from_file(save(model(text, {"w": (4, 5)}), tmp_path / "if.onnx"))


def test_kernels_from_file_damaged_names_raise_artefact_error(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(model().SerializeToString().replace(b"Relu", b"Re\xff\xff"))
    with pytest.raises(ArtefactError, match=r"net.onnx: an operator is not as ONNX defines it"):
        kernels_from_file(tmp_path / "net.onnx")
