"""Figures of exits on the tiny bundle, whose answers are known without any graph."""

from pathlib import Path

import numpy as np
import pytest

from eetool.bench.benchmark import BenchRules, bench_bundle
from eetool.bench.exit_metrics import SHOWN
from eetool.data.source import Source
from eetool_runtime import load
from eetool_runtime.preprocess import normalise
from tests.helpers.tiny_bundle import answers


@pytest.fixture
def found(bundle: Path, source: Source):  # type: ignore[no-untyped-def]
    return bench_bundle(
        load(bundle), source, np.arange(64), "test", (), BenchRules("balanced", 1.0, passes=1, min_seconds=0)
    )


def test_figures_of_exits_are_those_of_all_their_answers(found, bundle: Path, source: Source) -> None:  # type: ignore[no-untyped-def]
    x = normalise(source.inputs, load(bundle).bundle.manifest.inputs[0])
    for exit_, (logits, sure) in zip(found.exits, answers(x), strict=True):
        right = logits.argmax(1) == source.labels
        assert exit_.accuracy == pytest.approx(right.mean())
        assert sum(b.n for b in exit_.reliability) == 64
        assert sum(b.n * b.accuracy for b in exit_.reliability) == pytest.approx(right.sum())
        assert sum(b.n * b.confidence for b in exit_.reliability) == pytest.approx(sure.sum(), rel=1e-5)
        pairs = [(r, w) for r in sure[right] for w in sure[~right]]
        ranked = np.mean([(r > w) + (r == w) / 2 for r, w in pairs]) if pairs else None
        assert exit_.auroc == (None if ranked is None else pytest.approx(ranked, abs=0.01))


def test_examples_left_where_they_are_named(found, source: Source) -> None:  # type: ignore[no-untyped-def]
    point = next(p for p in found.points if p.name == "balanced")
    for exit_, share in zip(found.exits, point.exit_shares, strict=True):
        left = round(64 * share)
        assert len(exit_.easiest) == min(SHOWN, (left + 1) // 2)
        assert len(exit_.hardest) == min(SHOWN, left // 2)
        chosen = [e.index for e in (*exit_.easiest, *exit_.hardest)]
        assert len(set(chosen)) == len(chosen)
        assert all(e.label == source.labels[e.index] for e in exit_.easiest)
        sure = [e.confidence for e in (*exit_.easiest, *exit_.hardest[::-1])]
        assert sure == sorted(sure, reverse=True)


def test_exits_by_class_count_every_image_once(found, source: Source) -> None:  # type: ignore[no-untyped-def]
    assert found.labels == source.classes
    for point in found.points:
        if point.exit_shares is None:
            assert point.exits_by_class is None
            continue
        counts = np.array(point.exits_by_class)
        np.testing.assert_array_equal(counts.sum(1), np.bincount(source.labels, minlength=len(source.classes)))
        np.testing.assert_allclose(counts.sum(0) / 64, point.exit_shares)
