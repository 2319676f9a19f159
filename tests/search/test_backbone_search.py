"""Search of exits on a trained network: features once, branches once, and figures that direct training confirms."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eetool.advise.network import AdvisedNetwork, NetworkChoice, open_network
from eetool.advise.trial_exits import find_taps
from eetool.data.image_form import DataChoice
from eetool.data.source import Source
from eetool.errors import UsageError
from eetool.model.early_exit import capture_outputs
from eetool.progress import SILENT
from eetool.search.backbone_search import BackboneSearch
from eetool.search.evaluation.backbone_evaluator import BackboneEvaluator
from eetool.search.evaluation.backbone_features import BackboneFeatures, TappedBackbone, bytes_per_example
from eetool.search.methods.recombination import Recombination
from eetool.search.search import SearchOptions, SearchTarget
from eetool.search.search_results import CandidateFigures, EvaluatedCandidate
from eetool.search.space.space import ADAPTIVE, genome_key
from eetool.search.study.storage import Storage
from eetool.train import feature_files

OPTIONS = SearchOptions(examples=200, epochs=2)


@pytest.fixture(scope="module")
def network(trained: Path, digits: Source) -> AdvisedNetwork:
    return open_network(NetworkChoice(str(trained), DataChoice("digits")), digits, SILENT)


@pytest.fixture(scope="module")
def backbone(network: AdvisedNetwork) -> TappedBackbone:
    return TappedBackbone(network.spec, network.net, tuple(find_taps(network.net.backbone, network.spec)))


def search(backbone: TappedBackbone, network: AdvisedNetwork, options: SearchOptions = OPTIONS) -> BackboneSearch:
    found = (network.source, network.hold_out, network.statistics)
    return BackboneSearch(backbone, *found, SearchTarget(), options)


@pytest.fixture(scope="module")
def work(backbone: TappedBackbone, network: AdvisedNetwork) -> BackboneSearch:
    return search(backbone, network)


@pytest.fixture(scope="module")
def evaluator(work: BackboneSearch) -> BackboneEvaluator:
    return work.evaluator()


def timeless(candidate: EvaluatedCandidate) -> EvaluatedCandidate:
    return replace(candidate, seconds={})


def test_features_are_those_of_the_backbone(backbone: TappedBackbone, work: BackboneSearch) -> None:
    part = work.data.judge
    features = BackboneFeatures(backbone, [part.examples])
    inputs = part.inputs(5)
    names = [tap.name for tap in backbone.taps]
    with torch.no_grad(), capture_outputs(backbone.net.backbone, names) as at:
        final = backbone.net.backbone(inputs)
    for i, name in enumerate(names):
        torch.testing.assert_close(features.of(0, i)[:5].float(), at[name], rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(features.final(0)[:5], final, rtol=1e-4, atol=1e-4)


def test_figures_do_not_depend_on_earlier_candidates(evaluator: BackboneEvaluator, work: BackboneSearch) -> None:
    largest = evaluator.space.largest()
    first = evaluator(largest)
    genome = dict(largest)
    one = evaluator.space.express({**genome, "exit0.position": 0})
    evaluator(one)
    assert timeless(evaluator(largest)) == timeless(first)
    assert timeless(work.evaluator()(largest)) == timeless(first)


def test_a_branch_has_the_same_accuracy_beside_other_exits(evaluator: BackboneEvaluator) -> None:
    both = evaluator.space.largest()
    alone = evaluator.space.express({**both, "exit0.position": 0})
    with_other, single = evaluator(both), evaluator(alone)
    assert len(with_other.taps) == len(single.taps) + 1
    assert with_other.exit_accuracies[1:] == single.exit_accuracies


def test_full_depth_keeps_the_accuracy_of_the_network(evaluator: BackboneEvaluator, backbone: TappedBackbone) -> None:
    judge = evaluator.data.judge
    with torch.no_grad():
        right = backbone.net.backbone(judge.inputs()).argmax(1) == judge.labels
    for genome in (evaluator.space.smallest(), evaluator.space.largest()):
        assert evaluator(genome).exit_accuracies[-1] == pytest.approx(float(right.float().mean()))


def test_learned_confidences_are_trained_together(backbone: TappedBackbone, network: AdvisedNetwork) -> None:
    learned = search(backbone, network, replace(OPTIONS, algorithm="nachos")).evaluator()
    candidate = learned(learned.space.largest())
    assert candidate.score == "learned"
    assert timeless(learned(learned.space.largest())) == timeless(candidate)
    assert all(accuracy > 0.2 for accuracy in candidate.exit_accuracies)


def test_examples_and_taps_fit_into_the_cache(
    backbone: TappedBackbone, network: AdvisedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = search(backbone, network).data
    held_out = len(data.threshold.labels) + len(data.judge.labels)
    fitting = bytes_per_example(backbone.taps) * (held_out + 50) / 0.9 / 1e9
    monkeypatch.setenv(feature_files.LIMIT, repr(fitting))
    limited = search(backbone, network)
    assert len(limited.backbone.taps) < len(backbone.taps)  # 50 examples are too few, so places are left out
    assert len(limited.data.branches.labels) <= 200
    used = bytes_per_example(limited.backbone.taps) * (held_out + len(limited.data.branches.labels))
    assert used <= fitting * 1e9


def test_front_names_the_cheapest_point_within_the_drop(work: BackboneSearch, evaluator: BackboneEvaluator) -> None:
    candidates = [evaluator(g) for g in (evaluator.space.smallest(), evaluator.space.largest())]
    front = work.front(list(candidates), "study")
    full = candidates[0].exit_accuracies[-1]
    within = [c for c in front.front if c.figures.accuracy >= full - 0.01]
    assert front.cheapest == min(within, key=lambda c: c.figures.macs).id


def test_options_of_a_space_are_refused(backbone: TappedBackbone, network: AdvisedNetwork) -> None:
    with pytest.raises(UsageError, match="fine-tune"):
        search(backbone, network, replace(OPTIONS, fine_tune=1))


def test_rule_gives_branches_that_save(evaluator: BackboneEvaluator) -> None:
    genome = evaluator.space.with_adaptive(evaluator.space.largest())
    assert ADAPTIVE in genome.values()
    figures: CandidateFigures = evaluator(genome).figures
    assert np.isfinite(figures.macs)


def test_run_adds_networks_of_trained_exits(backbone: TappedBackbone, network: AdvisedNetwork, tmp_path: Path) -> None:
    work = search(backbone, network, replace(OPTIONS, algorithm="local", trials=10, max_accuracy_drop=5.0))
    storage = Storage(f"sqlite:///{tmp_path / 'study.db'}")
    found = work.run(storage, "exits", work.weights_sha256)
    assert len(found) > 10
    assert len({candidate.id for candidate in found}) == len(found)
    trained = {pair for c in found[:10] for pair in zip(c.taps, c.branches, strict=True)}
    assert {pair for c in found[10:] for pair in zip(c.taps, c.branches, strict=True)} <= trained
    again = work.run(storage, "exits", work.weights_sha256)
    assert [timeless(c) for c in again] == [timeless(c) for c in found]
    parts, known = Recombination(work.space), {genome_key(candidate.encoding) for candidate in found}
    for point in work.front(found, "exits").front:  # also without the exits that never fire
        idle = [i for i, threshold in enumerate(point.thresholds) if threshold is None]
        assert genome_key(parts.without_exits(point.encoding, idle)) in known
