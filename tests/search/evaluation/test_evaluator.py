"""Evaluation of candidates: reproducible figures, held-out thresholds, and complete costs."""

from dataclasses import replace

import pytest
import torch

from eetool.data.source import Source
from eetool.errors import ArtefactError, BudgetError, DivergedError, MissingError, UsageError
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.table.hw_profile import find_device
from eetool.model.supernet import Supernet
from eetool.search.evaluation import fine_tuning
from eetool.search.evaluation.cost_estimation import CostEstimator, least_figures
from eetool.search.evaluation.evaluator import EvaluationSettings
from eetool.search.evaluation.splits import SearchData, load_search_data
from eetool.search.evaluation.supernet_evaluator import SupernetEvaluator, largest_network
from eetool.search.methods.methods import METHODS
from eetool.search.search_results import Candidate, figure_value, front_of
from eetool.search.space.builtin_spaces import load_space
from tests.helpers import small_spaces


@pytest.fixture(scope="module")
def data(digits: Source) -> SearchData:
    return load_search_data(digits, 200)


@pytest.fixture(scope="module")
def evaluators(data: SearchData) -> dict[str, SupernetEvaluator]:
    space = small_spaces.mobile()
    torch.manual_seed(0)
    supernet = Supernet(largest_network(space, data)).eval()
    estimator = CostEstimator(Predictor(find_device("rpi4"), "onnxruntime", "fp32", 1))
    evaluators = {}
    for name in ("aebnas", "nachos", "edanas"):
        method = METHODS[name]
        settings = EvaluationSettings("latency_ms", {}, method.thresholds, method.learned, epochs=2)
        evaluators[name] = SupernetEvaluator(method.space(space), supernet, data, estimator, settings)
    return evaluators


@pytest.mark.parametrize("name", ["aebnas", "nachos", "edanas"])
def test_evaluator_same_genome_returns_same_figures(evaluators: dict[str, SupernetEvaluator], name: str) -> None:
    evaluator = evaluators[name]
    first = evaluator(evaluator.space.largest())
    evaluator(evaluator.space.smallest())
    again = evaluator(evaluator.space.largest())
    assert replace(first, seconds={}) == replace(again, seconds={})
    assert set(first.seconds) == {"weights", "price", "features", "branches", "thresholds"}


@pytest.mark.parametrize("name", ["aebnas", "nachos", "edanas"])
def test_evaluate_on_two_parts_trains_once(evaluators: dict[str, SupernetEvaluator], name: str) -> None:
    evaluator = evaluators[name]
    data, genome = evaluator.data, evaluator.space.largest()
    first, second = evaluator.evaluate_on(genome, (data.judge, data.threshold))
    assert replace(first, seconds={}) == replace(evaluator(genome), seconds={})
    assert (first.figures.n, second.figures.n) == (len(data.judge.labels), len(data.threshold.labels))
    assert [p.thresholds for p in first.points()] == [p.thresholds for p in second.points()]
    assert first.figures.accuracy != second.figures.accuracy
    assert first.figures.worst_macs == second.figures.worst_macs


def test_evaluator_figures_are_consistent(evaluators: dict[str, SupernetEvaluator]) -> None:
    candidate = evaluators["aebnas"](evaluators["aebnas"].space.largest())
    figures = candidate.figures
    assert sum(figures.exit_shares) == pytest.approx(1)
    assert len(figures.exit_shares) == len(candidate.thresholds) + 1 == len(candidate.temperatures) == 2
    assert figures.worst_latency_ms is not None
    assert figures.latency_ms is not None
    assert figures.latency_ms <= figures.worst_latency_ms * (
        1 + 1e-12
    )  # equal up to rounding where all inputs run to the end
    assert figures.macs <= figures.worst_macs
    static = evaluators["aebnas"](evaluators["aebnas"].space.smallest())
    assert static.taps == static.thresholds == ()
    assert static.figures.latency_ms == pytest.approx(static.figures.worst_latency_ms)


@pytest.mark.parametrize("name", ["aebnas", "nachos"])
def test_evaluator_fine_tune_beats_inherited_weights(evaluators: dict[str, SupernetEvaluator], name: str) -> None:
    inherits = evaluators[name]
    tuning = replace(inherits.settings, fine_tune=12)
    tunes = SupernetEvaluator(inherits.space, inherits.supernet, inherits.data, inherits.estimator, tuning)
    genome = inherits.space.largest()
    shared = {key: value.clone() for key, value in inherits.supernet.state_dict().items()}
    candidate = tunes(genome)
    assert candidate.figures.accuracy > inherits(genome).figures.accuracy + 0.2  # the supernet has fresh weights
    assert replace(candidate, seconds={}) == replace(tunes(genome), seconds={})
    assert all(torch.equal(value, shared[key]) for key, value in inherits.supernet.state_dict().items())


def test_evaluator_diverging_fine_tune_raises_diverged_error(
    evaluators: dict[str, SupernetEvaluator], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = evaluators["aebnas"]
    tuning = replace(known.settings, fine_tune=1)
    monkeypatch.setattr(fine_tuning, "_LEARNING_RATE", 1e30)
    broken = SupernetEvaluator(known.space, known.supernet, known.data, known.estimator, tuning)
    with pytest.raises(DivergedError, match="fine-tuning a candidate: the loss became") as diverged:
        broken(known.space.smallest())
    assert "--fine-tune" in str(diverged.value.hint)


def test_evaluator_infinite_inputs_are_blamed_on_the_data(evaluators: dict[str, SupernetEvaluator]) -> None:
    known = evaluators["aebnas"]
    training = replace(known.data.training, std=torch.zeros(1))  # every pixel becomes infinite or NaN
    data, tuning = replace(known.data, training=training), replace(known.settings, fine_tune=1)
    broken = SupernetEvaluator(known.space, known.supernet, data, known.estimator, tuning)
    with pytest.raises(ArtefactError, match=r"in epoch 1, step 1: the inputs of the network hold .* infinite values"):
        broken(known.space.smallest())


def test_evaluator_unknown_torch_device_raises_usage_error(evaluators: dict[str, SupernetEvaluator]) -> None:
    known = evaluators["aebnas"]
    tuning = replace(known.settings, fine_tune=1, torch_device="gpu")
    with pytest.raises(UsageError, match="unknown torch device 'gpu'"):
        SupernetEvaluator(known.space, known.supernet, known.data, known.estimator, tuning)(known.space.smallest())


def test_evaluator_tuned_method_returns_points_up_to_full_depth(evaluators: dict[str, SupernetEvaluator]) -> None:
    evaluator = evaluators["aebnas"]
    candidate = evaluator(small_spaces.ends(evaluator.space)[1])
    own, *others = candidate.points()
    assert (own.id, own.thresholds, own.figures) == (candidate.id, candidate.thresholds, candidate.figures)
    assert others  # the branch is accurate enough that inputs leave
    assert f"{candidate.id}@full" in {point.id for point in others}
    for point in others:
        assert (point.encoding, point.branches, point.temperatures) == (own.encoding, own.branches, own.temperatures)
        assert point.thresholds != own.thresholds
        assert point.figures.parameters == own.figures.parameters
    full = next(point for point in others if point.id.endswith("@full"))
    assert full.figures.exit_shares[-1] == 1
    assert all(t is None for t in full.thresholds)
    for name in ("nachos", "edanas"):
        evaluator = evaluators[name]
        assert len(evaluator(evaluator.space.largest()).points()) == 1


def test_least_figures_any_thresholds_are_lower_bounds(evaluators: dict[str, SupernetEvaluator]) -> None:
    evaluator = evaluators["aebnas"]
    genome = evaluator.space.largest()
    candidate = evaluator(genome)
    least = least_figures(evaluator.estimate_costs(genome))
    for point in candidate.points():
        assert all(value <= (figure_value(point, name) or 0) * (1 + 1e-9) for name, value in least.items())
    for name, value in least.items():
        for share, keeps in ((1.001, True), (0.999, False)):
            limited = replace(evaluator.settings, limits={name: share * value})
            asked = SupernetEvaluator(evaluator.space, evaluator.supernet, evaluator.data, evaluator.estimator, limited)
            assert asked.can_meet_limits(asked.estimate_costs(genome)) == keeps, name


def test_evaluator_baselines_gate_as_published(evaluators: dict[str, SupernetEvaluator]) -> None:
    nachos = evaluators["nachos"](evaluators["nachos"].space.largest())
    assert nachos.score == "learned"
    assert nachos.branches[0].endswith("conv3-32,conv3-64,conv3-128")
    assert nachos.temperatures == (1.0, 1.0)
    edanas = evaluators["edanas"](evaluators["edanas"].space.smallest())
    assert edanas.score == "margin"
    assert edanas.thresholds == (0.1,)


def test_evaluator_adaptive_gene_uses_rule_branches(evaluators: dict[str, SupernetEvaluator]) -> None:
    space, whole = evaluators["aebnas"].space, load_space("resnet")
    assert (
        evaluators["aebnas"](space.largest()).branches
        == evaluators["nachos"](evaluators["nachos"].space.largest()).branches
    )
    own = {"exit1.depth": 1, "exit1.layer0": "max2"}
    assert whole.network(whole.express({**whole.largest(), **own})).branches == (None, "max2", *[None] * 6)


def test_evaluator_limit_on_unknown_figure_raises_missing_error(evaluators: dict[str, SupernetEvaluator]) -> None:
    known = evaluators["aebnas"]
    settings = EvaluationSettings("macs", {"energy_mj": 1.0}, epochs=0)
    blind = SupernetEvaluator(known.space, known.supernet, known.data, CostEstimator(), settings)
    with pytest.raises(MissingError, match=r"energy_mj of .* is not known"):
        blind(known.space.smallest())
    timed = replace(settings, objective="latency_ms")
    unpriced = SupernetEvaluator(known.space, known.supernet, known.data, CostEstimator(), timed)
    with pytest.raises(MissingError, match="latency_ms"):
        unpriced(known.space.smallest())


def test_exits_can_save_expensive_exit_returns_false(evaluators: dict[str, SupernetEvaluator]) -> None:
    evaluator = evaluators["aebnas"]
    assert evaluator.exits_can_save(evaluator.estimate_costs(evaluator.space.smallest()))  # it has no exit
    cheap = {**evaluator.space.largest(), "exit0.depth": 0}
    dear = {**cheap, "exit0.depth": 3} | {f"exit0.layer{i}": "conv3" for i in range(3)}
    dear |= {f"exit0.layer{i}.width": 16 for i in range(3)}
    for genome, pays in ((cheap, True), (dear, False)):
        network = evaluator.space.express(genome)
        assert evaluator.exits_can_save(evaluator.estimate_costs(network)) == pays
    assert evaluator(network).figures.exit_shares[0] == 0  # tuned thresholds let no input leave there


def test_front_of_impossible_budget_names_binding_limit(evaluators: dict[str, SupernetEvaluator]) -> None:
    found: list[Candidate] = [evaluators["aebnas"](g) for g in (evaluators["aebnas"].space.smallest(),)]
    macs = found[0].figures.macs
    with pytest.raises(BudgetError, match="--max-macs 10 binds") as caught:
        front_of(found, "macs", {"macs": 10.0, "latency_ms": 1000.0})
    assert f"{macs:.6g}" in str(caught.value.hint)
    with pytest.raises(BudgetError, match="--min-accuracy"):
        front_of(found, "macs", {"macs": 1e12, "min_accuracy": 1.0})
    assert [c.id for c in front_of(found, "macs", {"macs": 2 * macs})] == [c.id for c in found]
