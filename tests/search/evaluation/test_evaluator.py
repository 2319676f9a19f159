"""One candidate: figures that follow from its genes, thresholds from a split of their own, all costs charged."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from eetool.data.source import Source
from eetool.data.splits import TEST, TRAIN, split_record, split_source
from eetool.errors import BudgetError, DivergedError, MissingError, UsageError
from eetool.latency.estimate.cascade_cost import CascadeCosts
from eetool.latency.estimate.predictor import Predictor
from eetool.latency.table.hw_profile import find_device
from eetool.metrics import exits_taken
from eetool.model.branches import Branch, BranchSpec
from eetool.model.references.reference import float_input
from eetool.model.references.resolve import build
from eetool.model.supernet import Supernet
from eetool.search.evaluation.adaptive_branches import adaptive_branches
from eetool.search.evaluation.branch_training import CostGoal, TapFeatures, learned_loss, train_branches
from eetool.search.evaluation.cost_estimation import CostEstimator, least_figures
from eetool.search.evaluation.evaluator import EvaluationSettings, Evaluator, largest_network
from eetool.search.evaluation.splits import SearchData, load_search_data
from eetool.search.evaluation.threshold_rules import ThresholdLimits, shared_threshold, tuned_thresholds
from eetool.search.methods.methods import METHODS
from eetool.search.search import Search, SearchOptions, SearchTarget
from eetool.search.search_results import Candidate, figure_value, front_of
from eetool.search.space.builtin_spaces import load_space
from eetool.search.space.space import Genome, Space
from eetool.tune.threshold_search import ThresholdProblem
from tests.helpers import small_spaces


@pytest.fixture(scope="module")
def data(digits: Source) -> SearchData:
    return load_search_data(digits, 200)


@pytest.fixture(scope="module")
def evaluators(data: SearchData) -> dict[str, Evaluator]:
    whole = small_spaces.mobile()
    torch.manual_seed(0)
    supernet = Supernet(largest_network(whole, data)).eval()
    pricer = CostEstimator(Predictor(find_device("rpi4"), "onnxruntime", "fp32", 1))
    made = {}
    for name in ("aebnas", "nachos", "edanas"):
        method = METHODS[name]
        setting = EvaluationSettings("latency_ms", {}, method.thresholds, method.learned, epochs=2)
        made[name] = Evaluator(method.space(whole), supernet, data, pricer, setting)
    return made


@pytest.mark.parametrize("name", ["aebnas", "nachos", "edanas"])
def test_the_same_genome_has_the_same_figures(evaluators: dict[str, Evaluator], name: str) -> None:
    evaluator = evaluators[name]
    first = evaluator(evaluator.space.largest())
    evaluator(evaluator.space.smallest())
    again = evaluator(evaluator.space.largest())
    assert replace(first, seconds={}) == replace(again, seconds={})
    assert set(first.seconds) == {"weights", "price", "features", "branches", "thresholds"}


@pytest.mark.parametrize("name", ["aebnas", "nachos", "edanas"])
def test_one_training_can_be_judged_on_several_parts(evaluators: dict[str, Evaluator], name: str) -> None:
    evaluator = evaluators[name]
    data, genome = evaluator.data, evaluator.space.largest()
    first, second = evaluator.judged(genome, (data.judge, data.threshold))
    assert replace(first, seconds={}) == replace(evaluator(genome), seconds={})
    assert (first.figures.n, second.figures.n) == (len(data.judge.labels), len(data.threshold.labels))
    assert [p.thresholds for p in first.points()] == [p.thresholds for p in second.points()]
    assert first.figures.accuracy != second.figures.accuracy
    assert first.figures.worst_macs == second.figures.worst_macs


def test_figures_hang_together(evaluators: dict[str, Evaluator]) -> None:
    found = evaluators["aebnas"](evaluators["aebnas"].space.largest())
    figures = found.figures
    assert sum(figures.exit_shares) == pytest.approx(1)
    assert len(figures.exit_shares) == len(found.thresholds) + 1 == len(found.temperatures) == 2
    assert figures.worst_latency_ms is not None
    assert figures.latency_ms is not None
    assert figures.latency_ms <= figures.worst_latency_ms * (1 + 1e-12)  # where all run to the end, but for rounding
    assert figures.macs <= figures.worst_macs
    static = evaluators["aebnas"](evaluators["aebnas"].space.smallest())
    assert static.taps == static.thresholds == ()
    assert static.figures.latency_ms == pytest.approx(static.figures.worst_latency_ms)


@pytest.mark.parametrize("name", ["aebnas", "nachos"])
def test_fine_tuned_candidates_are_better_than_what_they_inherit(evaluators: dict[str, Evaluator], name: str) -> None:
    inherits = evaluators[name]
    tuning = replace(inherits.setting, fine_tune=12)
    tunes = Evaluator(inherits.space, inherits.supernet, inherits.data, inherits.pricer, tuning)
    genome = inherits.space.largest()
    shared = {key: value.clone() for key, value in inherits.supernet.state_dict().items()}
    found = tunes(genome)
    assert found.figures.accuracy > inherits(genome).figures.accuracy + 0.2  # the supernet has fresh weights
    assert replace(found, seconds={}) == replace(tunes(genome), seconds={})
    assert all(torch.equal(value, shared[key]) for key, value in inherits.supernet.state_dict().items())


def test_fine_tuning_that_diverges_says_what_to_do(evaluators: dict[str, Evaluator]) -> None:
    known = evaluators["aebnas"]
    learn = replace(known.data.learn, std=torch.zeros(1))  # every pixel becomes infinite, or no number
    data, tuning = replace(known.data, learn=learn), replace(known.setting, fine_tune=1)
    broken = Evaluator(known.space, known.supernet, data, known.pricer, tuning)
    with pytest.raises(DivergedError, match="fine-tuning a candidate: the loss became") as diverged:
        broken(known.space.smallest())
    assert "--fine-tune" in str(diverged.value.hint)


def test_fine_tuning_goes_where_torch_is_told_to(evaluators: dict[str, Evaluator]) -> None:
    known = evaluators["aebnas"]
    tuning = replace(known.setting, fine_tune=1, torch_device="gpu")
    with pytest.raises(UsageError, match="unknown torch device 'gpu'"):
        Evaluator(known.space, known.supernet, known.data, known.pricer, tuning)(known.space.smallest())


def test_a_network_has_operating_points_up_to_full_depth(evaluators: dict[str, Evaluator]) -> None:
    evaluator = evaluators["aebnas"]
    found = evaluator(ends(evaluator.space)[1])
    own, *others = found.points()
    assert (own.id, own.thresholds, own.figures) == (found.id, found.thresholds, found.figures)
    assert others  # the branch is good enough to let something leave
    assert f"{found.id}@full" in {point.id for point in others}
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


def test_no_thresholds_get_below_the_least_figures(evaluators: dict[str, Evaluator]) -> None:
    evaluator = evaluators["aebnas"]
    genome = evaluator.space.largest()
    found = evaluator(genome)
    least = least_figures(evaluator.price(genome))
    for point in found.points():
        assert all(value <= (figure_value(point, name) or 0) * (1 + 1e-9) for name, value in least.items())
    for name, value in least.items():
        for share, keeps in ((1.001, True), (0.999, False)):
            limited = replace(evaluator.setting, limits={name: share * value})
            asked = Evaluator(evaluator.space, evaluator.supernet, evaluator.data, evaluator.pricer, limited)
            assert asked.can_keep(asked.price(genome)) == keeps, name


def test_limits_screen_genomes_unless_even_the_smallest_is_over_them(digits: Source) -> None:
    space = small_spaces.mobile()
    sizes = [
        Search(digits, space, SearchTarget(), SearchOptions(examples=50)).evaluator().price(g).parameters
        for g in ends(space)
    ]
    for limit, admitted in ((sizes[0], (True, False)), (sizes[1], (True, True)), (sizes[0] - 1, (True, True))):
        search = Search(digits, space, SearchTarget(), SearchOptions(examples=50, limits={"parameters": limit}))
        screen = search._screen(search.evaluator())
        assert tuple(map(screen, ends(space))) == admitted, limit


def ends(space: Space) -> tuple[Genome, Genome]:
    """The smallest network and the largest, whose exit has no layers, so that it can pay."""
    return space.smallest(), space.express({**space.largest(), "exit0.depth": 0})


def test_methods_gate_as_their_papers_do(evaluators: dict[str, Evaluator]) -> None:
    nachos = evaluators["nachos"](evaluators["nachos"].space.largest())
    assert nachos.score == "learned"
    assert nachos.branches[0].endswith("conv3-32,conv3-64,conv3-128")
    assert nachos.temperatures == (1.0, 1.0)
    edanas = evaluators["edanas"](evaluators["edanas"].space.smallest())
    assert edanas.score == "margin"
    assert edanas.thresholds == (0.1,)


def test_genes_may_leave_a_branch_to_the_rule(evaluators: dict[str, Evaluator]) -> None:
    space, whole = evaluators["aebnas"].space, load_space("resnet")
    assert (
        evaluators["aebnas"](space.largest()).branches
        == evaluators["nachos"](evaluators["nachos"].space.largest()).branches
    )
    own = {"exit1.depth": 1, "exit1.layer0": "max2"}
    assert whole.network(whole.express({**whole.largest(), **own})).branches == (None, "max2")


def test_a_limit_on_what_is_not_known_cannot_be_kept(evaluators: dict[str, Evaluator]) -> None:
    known = evaluators["aebnas"]
    setting = EvaluationSettings("macs", {"energy_mj": 1.0}, epochs=0)
    blind = Evaluator(known.space, known.supernet, known.data, CostEstimator(), setting)
    with pytest.raises(MissingError, match=r"energy_mj of .* is not known"):
        blind(known.space.smallest())
    with pytest.raises(MissingError, match="latency_ms"):
        Evaluator(known.space, known.supernet, known.data, CostEstimator(), replace(setting, objective="latency_ms"))(
            known.space.smallest()
        )


def test_the_test_split_is_never_seen(digits: Source, data: SearchData) -> None:
    splits = split_source(digits)
    assert data.record.splits[TEST] == split_record(splits)[TEST]
    seen = {image.tobytes() for image in digits.inputs[splits[TRAIN]]}
    learned = {image.numpy().tobytes() for image in data.learn.images}
    assert learned < seen
    assert len(data.learn.labels) + len(data.judge.labels) == len(splits[TRAIN])
    judged = {image.numpy().tobytes() for image in data.judge.images}
    taught = {image.numpy().tobytes() for image in data.branches.images}
    assert not judged & taught
    assert len(data.branches.labels) == 200


def problem(seed: int = 0) -> ThresholdProblem:
    rng = np.random.default_rng(seed)
    correct = rng.random((3, 400)) < np.array([0.7, 0.8, 0.9])[:, None]
    sure = np.clip(0.5 * correct + 0.5 * rng.random((3, 400)), 0, 1).astype(np.float32)
    return ThresholdProblem(sure, correct, CascadeCosts((1.0, 1.0, 1.0), (0.2, 0.2)))


def test_tuned_thresholds_keep_to_the_limit_where_they_can() -> None:
    p = problem()
    free = tuned_thresholds(p, ThresholdLimits(None, None, 2.0))
    cost, errors = p.evaluate(free)
    assert errors <= p.allowed_errors(2.0)
    held = tuned_thresholds(p, ThresholdLimits(0.8 * cost, None, 2.0))
    spent = p.costs.leaving(held)[exits_taken(p.confidences, held)]
    assert spent.mean() + 1.9 * spent.std() / np.sqrt(p.n) <= 0.8 * cost  # other inputs will cost something else
    assert p.evaluate(held)[1] >= errors
    assert tuned_thresholds(p, ThresholdLimits(10.0, None, 2.0)) == free


def test_nachos_repairs_from_the_deepest_exit() -> None:
    p = problem()
    free = shared_threshold(p, ThresholdLimits())
    assert free[0] is not None
    assert free[0] >= 0.7
    limit = 0.97 * p.evaluate(free)[0]
    held = shared_threshold(p, ThresholdLimits(limit))
    assert p.evaluate(held)[0] <= limit
    assert held[1] is not None
    assert free[1] is not None
    assert held[1] < free[1]
    accuracy = p.correct[-1].mean() - p.evaluate(free)[1] / p.n
    kept = shared_threshold(
        p, ThresholdLimits(limit, min_accuracy=float(accuracy))
    )  # a lowering that costs too much is taken back
    assert p.correct[-1].mean() - p.evaluate(kept)[1] / p.n >= accuracy
    assert p.evaluate(kept)[1] < p.evaluate(held)[1] or kept == held


def test_the_cost_in_nachos_loss_has_a_gradient() -> None:
    logits = [torch.randn(16, 4) for _ in range(3)]
    sure = [torch.zeros(16, requires_grad=True) for _ in range(2)]
    labels = torch.randint(0, 4, (16,))
    for limit, pulled in ((1.0, True), (100.0, False)):
        goal = CostGoal((1.0, 5.0, 9.0), limit)
        with_cost = learned_loss(logits, sure, labels, goal)
        without = learned_loss(logits, sure, labels, CostGoal((1.0, 5.0, 9.0), None))
        (gradient,) = torch.autograd.grad(with_cost - without, sure[:1])
        assert bool((gradient < 0).all()) == pulled  # surer at the first exit is cheaper


def test_branches_learn_on_cached_features() -> None:
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (256,))
    x = torch.randn(256, 4, 6, 6) + labels[:, None, None, None].float()
    features = TapFeatures((x,), torch.zeros(256, 3), labels)
    branch = Branch(BranchSpec.parse("conv3-8"), (1, 4, 6, 6), 3).eval()
    before = (branch(x).argmax(1) == labels).float().mean()
    train_branches([branch], features, 15, 32, seed=1)
    assert (branch(x).argmax(1) == labels).float().mean() > max(0.8, float(before))


def test_fixed_branches_pool_until_leaving_is_cheaper() -> None:
    inputs = float_input("x", (1, 3, 32, 32))
    backbone = build("mbv3-16x2-24r1.3e2.3e2-40hs2.3e2.3e2-96x64", inputs, 10)
    made = adaptive_branches(backbone, inputs, ("stage0.1", "stage1.1"), 10)
    assert [text.count("max2") for text in made] == [2, 2]
    wide = build("mbv3-16x1-128r1.3e4.3e4-160hs2.5e4.5e4-960x1280", inputs, 10)
    assert adaptive_branches(wide, inputs, ("stage0.0",), 10)[0].count("max2") == 0
    assert adaptive_branches(backbone, inputs, (), 10) == ()


def test_an_exit_that_costs_more_than_what_follows_cannot_pay(evaluators: dict[str, Evaluator]) -> None:
    evaluator = evaluators["aebnas"]
    assert evaluator.can_pay(evaluator.price(evaluator.space.smallest()))  # it has no exit
    cheap = {**evaluator.space.largest(), "exit0.depth": 0}
    dear = {**cheap, "exit0.depth": 3} | {f"exit0.layer{i}": "conv3" for i in range(3)}
    dear |= {f"exit0.layer{i}.width": 16 for i in range(3)}
    for genome, pays in ((cheap, True), (dear, False)):
        network = evaluator.space.express(genome)
        assert evaluator.can_pay(evaluator.price(network)) == pays
    assert evaluator(network).figures.exit_shares[0] == 0  # tuned thresholds let nothing leave there


def test_an_impossible_budget_names_what_binds(evaluators: dict[str, Evaluator]) -> None:
    found: list[Candidate] = [evaluators["aebnas"](g) for g in (evaluators["aebnas"].space.smallest(),)]
    macs = found[0].figures.macs
    with pytest.raises(BudgetError, match="--max-macs 10 binds") as caught:
        front_of(found, "macs", {"macs": 10.0, "latency_ms": 1000.0})
    assert f"{macs:.6g}" in str(caught.value.hint)
    with pytest.raises(BudgetError, match="--min-accuracy"):
        front_of(found, "macs", {"macs": 1e12, "min_accuracy": 1.0})
    assert [c.id for c in front_of(found, "macs", {"macs": 2 * macs})] == [c.id for c in found]
