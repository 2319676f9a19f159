"""Joined heads: the same answers and decisions with fewer components, and `auto` joins only where it pays."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eetool.errors import ArtefactError
from eetool.export.merge_heads import ALL, AUTO, NONE, merge_heads
from eetool.export.split import ComponentModule, run_components, split_graph, trace_network
from eetool.model.early_exit import EarlyExitNet
from eetool.model.macs import count_macs, count_parameters
from eetool.model.scored_network import ScoredNetwork, exit_output_names, temperature_name
from eetool.profile.profiler import Profile
from eetool.records import read_record
from eetool_measure.results import ThreadTimes
from eetool_measure.timing import Spread
from eetool_runtime import Bundle, load, open_bundle
from eetool_runtime.manifest import Expected, OperatingPoint

GOLDEN = Path(__file__).parents[1] / "golden/profile-1.json"
pytestmark = pytest.mark.usefixtures("converted_once")


class Tangled(nn.Module):
    """Two tensors cross every boundary, and the input is needed again at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        skip, y = x, x
        for block in self.blocks:
            skip, y = torch.tanh(y + skip), block(y) * skip
        return self.head(torch.cat([skip + y, x], 1))


class Cut:
    """An early-exit net in pieces, with everything that flows between them for 5 inputs."""

    def __init__(self, backbone: nn.Module, exits: dict[str, nn.Module], width: int) -> None:
        torch.manual_seed(0)
        self.network = ScoredNetwork(EarlyExitNet(backbone, exits)).eval()
        n = self.network.n_exits
        names = ["input", *(temperature_name(i) for i in range(n))]
        self.inputs = dict(zip(names, (torch.randn(5, width), *torch.linspace(0.5, 2, n)), strict=True))
        example = tuple(x[:2] if x.ndim else x for x in self.inputs.values())
        self.pieces = split_graph(
            trace_network(self.network, example, 1), names, [exit_output_names(i) for i in range(n)]
        )

    def examples(self) -> dict[str, Tensor]:
        return {k: x[:1] if x.ndim else x for k, x in run_components(self.pieces, self.inputs).items()}


@pytest.fixture(scope="module")
def tangled() -> Cut:
    return Cut(Tangled(), {"blocks.0": nn.Linear(6, 3), "blocks.1": nn.Linear(6, 3)}, 6)


def summary(pieces: list[ComponentModule]) -> list[tuple[str, str]]:
    return [(piece.name, piece.kind) for piece in pieces]


def test_merge_heads_joined_components_compute_what_the_network_computes(tangled: Cut) -> None:
    pieces, notes = merge_heads(tangled.pieces, ALL)
    assert summary(pieces) == [("seg0", "joined"), ("seg1", "joined"), ("exit2", "exit")]
    assert notes == ["merge all: exit0, exit1 joined"]
    tensors = run_components(pieces, tangled.inputs)
    with torch.no_grad():
        expected = tangled.network(*tangled.inputs.values())
    for name, tensor in zip((n for i in range(3) for n in exit_output_names(i)), expected, strict=True):
        assert torch.equal(tensors[name], tensor)
    separate = {piece.name: piece for piece in tangled.pieces}
    for joined, parts in ((pieces[0], ("seg0", "exit0")), (pieces[1], ("seg1", "exit1"))):
        assert count_parameters(joined.module) == sum(count_parameters(separate[part].module) for part in parts)
        assert len(set(joined.inputs)) == len(joined.inputs)


class Peeking(nn.Module):
    """The head of exit 0 reads a tensor from inside the segment that nothing deeper reads."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = x + 1
        outer = torch.tanh(inner)
        return inner * outer, outer * 3


def test_merge_heads_joined_component_outputs_only_what_is_read() -> None:
    x = torch.randn(2, 4)
    pieces = split_graph(trace_network(Peeking(), (x,), 1), ["x"], [["a"], ["b"]])
    assert pieces[0].outputs == ("seg0_out0", "seg0_out1")
    joined, final = merge_heads(pieces, ALL)[0]
    assert joined.outputs == ("seg0_out1", "a")
    assert final.inputs == ("seg0_out1",)
    tensors = run_components([joined, final], {"x": x})
    for name, expected in zip("ab", Peeking()(x), strict=True):
        assert torch.equal(tensors[name], expected)


def test_merge_heads_shared_weights_are_stored_once() -> None:
    shared = nn.Linear(6, 6)
    backbone = nn.Sequential(shared, nn.Tanh(), nn.Linear(6, 3))
    cut = Cut(backbone, {"0": nn.Sequential(shared, nn.Linear(6, 3))}, 6)
    joined = merge_heads(cut.pieces, ALL)[0][0]
    assert count_parameters(joined.module) == 42 + 21


def test_merge_heads_head_without_segment_stays_separate() -> None:
    """Both exits sit on one tap, so there is no segment between their heads."""
    cut = Cut(
        nn.Sequential(nn.Linear(6, 6), nn.Identity(), nn.Linear(6, 3)), {"0": nn.Linear(6, 3), "1": nn.Linear(6, 3)}, 6
    )
    assert summary(merge_heads(cut.pieces, ALL)[0]) == [("seg0", "joined"), ("exit1", "exit"), ("exit2", "exit")]


def test_merge_heads_none_joins_nothing(tangled: Cut) -> None:
    assert merge_heads(tangled.pieces, NONE) == (tangled.pieces, [])


def point(thresholds: tuple[float | None, ...], shares: tuple[float, ...]) -> OperatingPoint:
    expected = Expected("threshold", 100, 0.9, shares, 1.0, 1.0, (None,) * len(shares))
    return OperatingPoint(thresholds, expected)


def measured(
    pieces: list[ComponentModule], examples: dict[str, Tensor], dispatch_us: tuple[float, float] = (15, 5)
) -> ThreadTimes:
    """Times of `pieces`: every component 0.1 ms, the cascade 0.2 ms per exit; `dispatch_us` is runtime and split."""
    times = read_record(Profile, GOLDEN, "profile/1").chosen
    latency = times.full
    runtime, cut = (Spread(us + 2, (us, us + 4)) for us in dispatch_us)
    first = times.components[0]
    components = tuple(
        replace(
            first,
            name=p.name,
            kind=p.kind,
            macs=count_macs(p.module, tuple(examples[n] for n in p.inputs)),
            latency_ms=replace(latency, median=0.1),
        )
        for p in pieces
    )
    cascade = tuple(
        replace(c, exit=k, latency_ms=replace(latency, median=0.2 * (k + 1)), runtime_us_per_component=runtime)
        for k, c in enumerate(times.cascade[:3])
    )
    overhead = replace(times.overhead, split_us_per_component=cut)
    return replace(times, components=components, cascade=cascade, overhead=overhead)


@pytest.mark.parametrize(
    ("thresholds", "shares", "dispatch_us", "joined"),
    [
        ((0.8, 0.8), (0.6, 0.2, 0.2), (15, 5), {"exit0", "exit1"}),
        ((0.8, None), (0.6, 0.0, 0.4), (15, 5), {"exit0"}),  # a head of its own is skipped: that saves more
        ((None, 0.8), (0.0, 0.6, 0.4), (15, 5), {"exit1"}),
        ((None, None), (0.0, 0.0, 1.0), (15, 5), set()),
        ((0.8, 0.8), (1.0, 0.0, 0.0), (15, 5), {"exit0"}),  # nobody gets to exit 1
        ((0.8, 0.8), (0.6, 0.2, 0.2), (5, -6), set()),  # a dispatch that may well cost nothing
    ],
)
def test_merge_heads_auto_joins_where_a_dispatch_costs_more(
    tangled: Cut,
    thresholds: tuple[float | None, ...],
    shares: tuple[float, ...],
    dispatch_us: tuple[float, float],
    joined: set[str],
) -> None:
    figures = measured(tangled.pieces, tangled.examples(), dispatch_us)
    pieces, notes = merge_heads(tangled.pieces, AUTO, point(thresholds, shares), figures, tangled.examples())
    left = {piece.name for piece in pieces}
    assert {"exit0", "exit1"} - left == joined
    assert notes[0] == f"merge auto: {', '.join(sorted(joined)) or 'nothing'} joined"


def test_merge_heads_auto_notes_exits_that_cannot_pay(tangled: Cut) -> None:
    # Exit 0 costs everybody 0.1 ms and saves a quarter 0.4 ms; exit 1 costs three quarters 0.1 ms, saves 5 % 0.2 ms.
    at = point((0.8, 0.8), (0.26, 0.05, 0.69))
    figures = measured(tangled.pieces, tangled.examples())
    _, notes = merge_heads(tangled.pieces, AUTO, at, figures, tangled.examples())
    assert len(notes) == 2
    assert notes[1].startswith("exit 1 does not pay")
    assert "costs 0.074 ms per input, leaving there saves at most 0.01 ms" in notes[1]


def test_merge_heads_auto_without_figures_joins_nothing(tangled: Cut) -> None:
    figures = measured(tangled.pieces, tangled.examples())
    for arguments, lacks in (
        ((point((0.8, 0.8), (0.6, 0.2, 0.2)), None), "a profile"),
        ((OperatingPoint((0.8, 0.8)), figures), "exit shares"),
    ):
        pieces, (note,) = merge_heads(tangled.pieces, AUTO, *arguments, tangled.examples())
        assert pieces == tangled.pieces
        assert lacks in note


def test_merge_heads_figures_of_another_model_raise_artefact_error(tangled: Cut) -> None:
    figures = measured(tangled.pieces, tangled.examples())
    other = replace(figures, components=(replace(figures.components[0], macs=1), *figures.components[1:]))
    with pytest.raises(ArtefactError, match="of other components"):
        merge_heads(tangled.pieces, AUTO, point((0.8, 0.8), (0.6, 0.2, 0.2)), other, tangled.examples())


@pytest.fixture(scope="module")
def joined_bundle(cli: Callable[..., Any], tuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("joined") / "model.eebundle"
    answered = cli("export", tuned, "--merge", "all", "--no-reference", "-o", path)
    assert answered.code == 0, answered
    assert "merge all: exit0, exit1 joined" in answered.stderr
    return open_bundle(path)


def test_export_joined_bundle_makes_the_same_decisions(bundle: Path, joined_bundle: Bundle) -> None:
    separate, joined = load(bundle), load(joined_bundle)
    x = joined_bundle.arrays(joined_bundle.manifest.samples)["input"]
    found = set()
    for name in separate.operating_points:
        separate.use(name)
        joined.use(name)
        for i in range(len(x)):
            one, other = separate(x[i : i + 1]), joined(x[i : i + 1])
            assert (one.exit, one.label) == (other.exit, other.label)
            np.testing.assert_allclose(one.logits, other.logits, rtol=1e-4, atol=1e-4)
            found.add(one.exit)
    assert len(found) > 1


def test_export_joined_bundle_charges_heads_without_a_gate(bundle: Path, joined_bundle: Bundle) -> None:
    one, other = open_bundle(bundle).manifest, joined_bundle.manifest
    assert [(c.name, c.kind) for c in other.components] == [("seg0", "joined"), ("seg1", "joined"), ("exit2", "exit")]
    heads = sum(c.macs for c in one.components if c.name in ("exit0", "exit1"))
    before, after = (m.variants["onnx/fp32"].operating_points for m in (one, other))
    for name, fitted in before.items():
        assert fitted.expected is not None
        assert after[name].expected is not None
        extra = after[name].expected.mean_macs - fitted.expected.mean_macs
        gates = [t is not None for t in fitted.thresholds]
        if name == "full":
            assert extra == heads
        if all(gates):
            assert extra == pytest.approx(0, abs=1e-3)
    assert other.unsplit_macs == sum(c.macs for c in one.components) - heads
    assert one.unsplit_macs is None


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--merge", "some"), 2, "'some' is not one of"),
        (("--merge", "all", "--profile", GOLDEN), 2, "--profile is what --merge auto decides by"),
        (("--merge", "auto", "--profile", "nothing.json"), 3, "does not exist"),
        (("--merge", "auto", "--profile", __file__), 3, "is a Python file"),
        (("--merge", "auto", "--profile", GOLDEN), 3, "the profile is of other components"),
        (("--merge", "all", "--layout", "single"), 2, "nothing to merge"),
    ],
)
def test_export_command_invalid_merge_options_exit_with_an_error(
    cli: Callable[..., Any], tuned: Path, tmp_path: Path, options: tuple[Any, ...], code: int, message: str
) -> None:
    answered = cli("export", tuned, "-o", tmp_path / "model.eebundle", *options)
    assert (answered.code, message in answered.stderr) == (code, True), answered
    assert list(tmp_path.iterdir()) == []
