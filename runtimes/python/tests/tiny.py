"""A small bundle with every part of the format, made from a few lines of ONNX text and numpy.

The network looks at a 4 × 4 image; its class is the brightest row. Each segment doubles the features, so an image of
contrast c (one row of value c, zeros elsewhere) has the logit 2**(k + 1) * c at exit k: contrast decides how early an
image leaves. The first exit is blind to the last class: it answers class 0 there, with the confidence of a guess.
All numbers are sums of powers of two, so expected logits are exact on every machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import onnx.parser

from eetool_runtime.manifest import (
    SCHEMA_VERSION,
    Component,
    Data,
    Exit,
    Expected,
    File,
    GraphFile,
    Input,
    Manifest,
    OperatingPoint,
    Preprocess,
    Reached,
    Split,
    Tensor,
    Variant,
)
from eetool_runtime.records import encode

LABELS = ("top", "upper", "lower", "bottom")
CLASSES = len(LABELS)
VARIANT = "onnx/fp32"
POINTS: dict[str, Optional[float]] = {"full": None, "balanced": 0.8, "fast": 0.6}
CONTRASTS = (0.25, 0.5, 1.0, 2.0)
_PREPROCESS = Preprocess(scale=1 / 64, mean=(0.5,), std=(0.5,))


def image(label: int, contrast: float) -> np.ndarray:
    """float32 (1, 1, 4, 4): row `label` has the value `contrast`, the rest is 0."""
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[0, 0, label] = contrast
    return x


def pixels(label: int, contrast: float) -> np.ndarray:
    """uint8 (4, 4): what the bundle's preprocessing turns into `image(label, contrast)`, for contrasts up to 6."""
    raw = np.full((4, 4), 32, np.uint8)
    raw[label] = 32 + round(32 * contrast)
    return raw


def temperature(index: int) -> float:
    """Temperature of exit `index`."""
    return 1 + index / 4


def answers(x: np.ndarray, early_exits: int = 2, *, chained: bool = False) -> list[tuple[np.ndarray, np.ndarray]]:
    """Logits (N, classes) and confidence (N,) of every exit, computed without any graph."""
    rows = np.maximum(x, 0).mean(axis=(1, 3))  # (N, 1, 4, 4) -> (N, 4)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for k in range(early_exits + 1):
        logits = rows * np.float32(2 ** (k + 1)) * _sight(k, early_exits)
        if chained and k > 0:
            logits = logits + found[-1][0]
        powers = np.exp((logits - logits.max(1, keepdims=True)) / np.float32(temperature(k)))
        found.append((logits, powers.max(1) / powers.sum(1)))
    return found


def leaves_at(confidences: list[np.ndarray], threshold: Optional[float]) -> np.ndarray:
    """int64 (N,): the exit where each input leaves when all early exits have this threshold."""
    last = len(confidences) - 1
    exits = np.full(len(confidences[0]), last, np.int64)
    if threshold is not None:
        for k in reversed(range(last)):
            exits[confidences[k] >= threshold] = k
    return exits


def write_tiny_bundle(
    folder: Path,
    *,
    name: str = "tiny",
    early_exits: int = 2,
    joined: bool = False,
    chained: bool = False,
    ids: bool = False,
    references: bool = True,
    edit: Optional[Callable[[dict[str, Any]], object]] = None,
    **fields: Any,
) -> Path:
    """Write `folder/NAME.eebundle` and return its path. Same arguments, same bytes.

    Args:
        folder: where; made if need be.
        name: of the model and its directory.
        early_exits: how many; the final exit comes on top.
        joined: each head shares a graph with its segment.
        chained: each exit adds the logits of the exit before it to its own.
        ids: a second input, `ids` int64 (batch, tokens), whose largest value multiplies the features.
        references: with the graphs under `reference/`.
        edit: changes the JSON of the manifest, as a dict, before it is written.
        fields: fields of `Manifest` to replace.
    """
    root = folder / f"{name}.eebundle"
    parts = _parts(early_exits, chained, ids)
    files: dict[str, bytes] = {}
    components = []
    for part in _join(parts) if joined else parts:
        files[f"components/{part.name}/onnx-fp32/model.onnx"] = part.graph(_tensors(early_exits))
        components.append(part.component())
    if references:
        for reference, graph in _references(parts, early_exits).items():
            files[f"reference/{reference}/onnx-fp32/model.onnx"] = graph
    x, labels = _sample_images()
    found = answers(x, early_exits, chained=chained)
    files["samples/inputs.npz"] = _npz({"input": x, **({"ids": np.ones((len(x), 3), np.int64)} if ids else {})})
    files["samples/onnx-fp32.npz"] = _npz(_sample_answers(found))
    manifest = replace(_manifest(name, components, early_exits, ids, found, labels, files), **fields)
    _write(root, manifest, files, edit)
    return root


def write_manifest(root: Path, document: Any) -> None:
    """Write `document` as the manifest of the bundle at `root`, in the canonical form."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (root / "manifest.json").write_bytes(text.encode())


class _Part:
    """One graph as text: what it reads, its constants and nodes, what it makes."""

    def __init__(self, name: str, kind: str, inputs: list[str], outputs: list[str], nodes: str) -> None:
        self.name = name
        self.kind = kind
        self.inputs = inputs
        self.outputs = outputs
        self.nodes = nodes
        self.macs = self.parameters = 0

    def component(self) -> Component:
        return Component(self.name, self.kind, tuple(self.inputs), tuple(self.outputs), self.macs, self.parameters)

    def graph(self, tensors: dict[str, Tensor]) -> bytes:
        reads = ", ".join(_typed(n, tensors) for n in self.inputs)
        makes = ", ".join(_typed(n, tensors) for n in self.outputs)
        text = f'<ir_version: 8, opset_import: ["" : 18]>\n{self.name} ({reads}) => ({makes}) {{\n{self.nodes}}}'
        model: bytes = onnx.parser.parse_model(text).SerializeToString(deterministic=True)
        return model


def _parts(early_exits: int, chained: bool, ids: bool) -> list[_Part]:
    """Segments and exits in the order in which they run."""
    parts = []
    for k in range(early_exits + 1):
        if k < early_exits:
            parts.append(_segment(k, ids))
        parts.append(_exit(k, early_exits, chained))
    return parts


def _segment(k: int, ids: bool, source: Optional[str] = None) -> _Part:
    reads = "input" if k == 0 else f"features{k - 1}"
    part = _Part(f"seg{k}", "segment", [reads], [f"features{k}"], "")
    part.nodes = f"""
        weight_s{k} = Constant <value = float[1,1,3,3] {{0, 0, 0, 0, 2, 0, 0, 0, 0}}> ()
        conv{k} = Conv <pads = [1, 1, 1, 1]> ({reads}, weight_s{k})
        {"relu0" if k == 0 and ids else f"features{k}"} = Relu (conv{k})
    """
    if k == 0 and ids:
        part.inputs.append("ids")
        part.nodes += """
        numbers = Cast <to = 1> (ids)
        tokens_axis = Constant <value = int64[1] {1}> ()
        most = ReduceMax <keepdims = 1> (numbers, tokens_axis)
        image_axes = Constant <value = int64[2] {2, 3}> ()
        factor = Unsqueeze (most, image_axes)
        features0 = Mul (relu0, factor)
        """
    part.macs, part.parameters = 4 * 4 * 9, 9
    return part


def _exit(k: int, early_exits: int, chained: bool) -> _Part:
    """Exit `k`; the last one holds the tail of the backbone and its classifier, here one more doubling."""
    last = k == early_exits
    reads = f"features{k - 1 if last else k}" if early_exits else "input"
    part = _Part(f"exit{k}", "exit", [reads, f"exit{k}_temperature"], [f"exit{k}_logits", f"exit{k}_confidence"], "")
    weight = np.diag(_sight(k, early_exits) * (2 if last else 1)).astype(int)
    own = f"own{k}" if chained and k > 0 else f"exit{k}_logits"
    part.nodes = f"""
        pooled_axes{k} = Constant <value = int64[2] {{1, 3}}> ()
        positive{k} = Relu ({reads})
        rows{k} = ReduceMean <keepdims = 0> (positive{k}, pooled_axes{k})
        weight_e{k} = Constant <value = float[4,4] {{{", ".join(str(w) for w in weight.ravel())}}}> ()
        {own} = MatMul (rows{k}, weight_e{k})
    """
    if chained and k > 0:
        part.inputs.append(f"exit{k - 1}_logits")
        part.nodes += f"exit{k}_logits = Add (own{k}, exit{k - 1}_logits)\n"
    part.nodes += f"""
        scaled{k} = Div (exit{k}_logits, exit{k}_temperature)
        softmax{k} = Softmax <axis = 1> (scaled{k})
        class_axis{k} = Constant <value = int64[1] {{1}}> ()
        exit{k}_confidence = ReduceMax <keepdims = 0> (softmax{k}, class_axis{k})
    """
    part.macs = part.parameters = CLASSES * CLASSES
    return part


def _join(parts: list[_Part]) -> list[_Part]:
    """Each head in one graph with its segment."""
    made, segments = [], iter(parts[:-1])
    for index, (segment, head) in enumerate(zip(segments, segments)):
        part = _Part(
            f"joined{index}",
            "joined",
            segment.inputs + [n for n in head.inputs if n not in segment.outputs],
            segment.outputs + head.outputs,
            segment.nodes + head.nodes,
        )
        part.macs, part.parameters = segment.macs + head.macs, segment.parameters + head.parameters
        made.append(part)
    return [*made, parts[-1]]


def _references(parts: list[_Part], early_exits: int) -> dict[str, bytes]:
    """`all_exits`: one graph that makes what all components make. `unsplit`: the backbone alone."""
    tensors = _tensors(early_exits)
    made = [n for p in parts for n in p.outputs]
    reads = list(dict.fromkeys(n for p in parts for n in p.inputs if n not in made))
    answers = [n for n in made if n.startswith("exit")]
    all_exits = _Part("all_exits", "reference", reads, answers, "".join(p.nodes for p in parts))
    logits = f"exit{early_exits}_logits"
    kept = [p for p in parts if p.kind == "segment"] + [_exit(early_exits, early_exits, chained=False)]
    nodes = "".join(p.nodes for p in kept).split(f"scaled{early_exits} =")[0].replace(logits, "logits")
    reads = [n for n in reads if not n.endswith("_temperature")]
    unsplit = _Part("unsplit", "reference", reads, ["logits"], nodes)
    return {
        "unsplit": unsplit.graph({**tensors, "logits": tensors[logits]}),
        "all_exits": all_exits.graph(tensors),
    }


def _sight(k: int, early_exits: int) -> np.ndarray:
    """float32 (classes,): which rows exit `k` can see."""
    sight = np.ones(CLASSES, np.float32)
    if k == 0 and early_exits:
        sight[-1] = 0
    return sight


def _tensors(early_exits: int) -> dict[str, Tensor]:
    """Type of every tensor, inputs and temperatures too."""
    known = {"input": Tensor("float32", ("batch", 1, 4, 4)), "ids": Tensor("int64", ("batch", "tokens"))}
    for k in range(early_exits + 1):
        known[f"features{k}"] = Tensor("float32", ("batch", 1, 4, 4))
        known[f"exit{k}_temperature"] = Tensor("float32", ())
        known[f"exit{k}_logits"] = Tensor("float32", ("batch", CLASSES))
        known[f"exit{k}_confidence"] = Tensor("float32", ("batch",))
    return known


def _typed(name: str, tensors: dict[str, Tensor]) -> str:
    dtype = {"float32": "float", "int64": "int64"}[tensors[name].dtype]
    shape = ", ".join(str(size) for size in tensors[name].shape)
    return f"{dtype}[{shape}] {name}" if shape else f"{dtype} {name}"


def _sample_images() -> tuple[np.ndarray, np.ndarray]:
    """One image for every class and contrast: float32 (16, 1, 4, 4) and their labels (16,)."""
    pairs = [(label, contrast) for contrast in CONTRASTS for label in range(CLASSES)]
    return np.concatenate([image(*pair) for pair in pairs]), np.array([label for label, _ in pairs])


def _sample_answers(found: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    arrays = {f"exit{k}_logits": logits for k, (logits, _) in enumerate(found)}
    confidences = [confidence for _, confidence in found]
    return {**arrays, **{f"exit_{point}": leaves_at(confidences, t) for point, t in POINTS.items()}}


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _manifest(
    name: str,
    components: list[Component],
    early_exits: int,
    ids: bool,
    found: list[tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    files: dict[str, bytes],
) -> Manifest:
    inputs = [Input("input", "float32", ("batch", 1, 4, 4), None if ids else _PREPROCESS)]
    if ids:
        inputs.append(Input("ids", "int64", ("batch", "tokens")))
    made_by = {name: c.name for c in components for name in c.outputs}
    shapes = _tensors(early_exits)
    variant = Variant(
        components={c.name: GraphFile(f"components/{c.name}/onnx-fp32/model.onnx", 0.0, 1e-4) for c in components},
        temperatures=tuple(temperature(k) for k in range(early_exits + 1)),
        operating_points={
            point: OperatingPoint((t,) * early_exits, _expected(components, found, labels, t))
            for point, t in POINTS.items()
        },
        samples="samples/onnx-fp32.npz",
        references={path.split("/")[1]: path for path in files if path.startswith("reference/")},
    )
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        inputs=tuple(inputs),
        labels=LABELS,
        tensors={n: shapes[n] for n in made_by},
        exits=tuple(
            Exit(
                f"layer{k}" if k < early_exits else None,
                made_by[f"exit{k}_logits"],
                f"exit{k}_logits",
                f"exit{k}_confidence",
                f"exit{k}_temperature",
            )
            for k in range(early_exits + 1)
        ),
        components=tuple(components),
        variants={VARIANT: variant},
        score="max_softmax",
        default_operating_point="balanced",
        samples="samples/inputs.npz",
        producer={"eetool": "0.1.0"},
        files={path: File(hashlib.sha256(data).hexdigest(), len(data)) for path, data in sorted(files.items())},
        max_accuracy_drop=0.5,
        data=Data("tiny", {"test": Split(len(labels), hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest())}),
    )


def _expected(
    components: list[Component], found: list[tuple[np.ndarray, np.ndarray]], labels: np.ndarray, t: Optional[float]
) -> Expected:
    """Figures of one operating point on the samples, every head before the exit paid for unless no gate can fire."""
    exits = leaves_at([confidence for _, confidence in found], t)
    chosen = np.stack([logits.argmax(1) for logits, _ in found])[exits, np.arange(len(labels))]
    paid = _paid_macs(components, len(found), t)
    reached: list[Optional[Reached]] = []
    for k, (_, confidence) in enumerate(found):
        here = confidence[exits >= k]
        if (t is None and k < len(found) - 1) or not len(here):
            reached.append(None)  # its head does not run, or nothing comes this far
        else:
            reached.append(Reached(len(here), round(float(here.mean()), 6), round(float(here.std()), 6)))
    return Expected(
        split="test",
        n=len(labels),
        accuracy=float((chosen == labels).mean()),
        exit_shares=tuple(float((exits == k).mean()) for k in range(len(found))),
        mean_exit_depth=float(exits.mean()),
        mean_macs=float(np.mean([paid[k] for k in exits])),
        reached=tuple(reached),
    )


def _paid_macs(components: list[Component], n_exits: int, t: Optional[float]) -> list[int]:
    """MACs of everything that ran for an input that leaves at each exit."""
    paid, total = [], 0
    for c in components:
        if t is not None or c.kind != "exit" or c is components[-1]:
            total += c.macs
        if any(n.endswith("_logits") for n in c.outputs):
            paid.append(total)
    assert len(paid) == n_exits
    return paid


def _write(root: Path, manifest: Manifest, files: dict[str, bytes], edit: Optional[Callable[[Any], object]]) -> None:
    for path, data in files.items():
        target = root.joinpath(*path.split("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    document = encode(manifest)
    if edit is not None:
        edit(document)
    write_manifest(root, document)
