"""Figures of exits on the tiny bundle, whose predictions are known without a graph."""

from pathlib import Path

import numpy as np
import pytest

from eetool.bench.benchmark import BenchRules, bench_bundle
from eetool.bench.exit_metrics import SHOWN
from eetool.bench.interleaved_timing import TimingRules
from eetool.data.source import Source
from eetool_runtime.bundle import open_bundle
from eetool_runtime.preprocess import normalise
from tests.helpers.tiny_bundle import answers


@pytest.fixture
def document(bundle: Path, source: Source):  # type: ignore[no-untyped-def]
    rules = BenchRules(1.0, "balanced", timing=TimingRules(1, 0))
    return bench_bundle(open_bundle(bundle), source, np.arange(64), "test", (), rules)


def test_exit_figures_cover_every_input(document, bundle: Path, source: Source) -> None:  # type: ignore[no-untyped-def]
    x = normalise(source.inputs, open_bundle(bundle).manifest.inputs[0])
    for exit_, (logits, confidence) in zip(document.exits, answers(x), strict=True):
        right = logits.argmax(1) == source.labels
        assert exit_.accuracy == pytest.approx(right.mean())
        assert sum(b.n for b in exit_.reliability) == 64
        assert sum(b.n * b.accuracy for b in exit_.reliability) == pytest.approx(right.sum())
        assert sum(b.n * b.confidence for b in exit_.reliability) == pytest.approx(confidence.sum(), rel=1e-5)
        pairs = [(r, w) for r in confidence[right] for w in confidence[~right]]
        ranked = np.mean([(r > w) + (r == w) / 2 for r, w in pairs]) if pairs else None
        assert exit_.auroc == (None if ranked is None else pytest.approx(ranked, abs=0.01))


def test_exit_figures_examples_left_at_their_exit(document, source: Source) -> None:  # type: ignore[no-untyped-def]
    point = next(p for p in document.ways if p.name == "balanced")
    for exit_, share in zip(document.exits, point.exit_shares, strict=True):
        left = round(64 * share)
        assert len(exit_.easiest) == min(SHOWN, (left + 1) // 2)
        assert len(exit_.hardest) == min(SHOWN, left // 2)
        chosen = [e.index for e in (*exit_.easiest, *exit_.hardest)]
        assert len(set(chosen)) == len(chosen)
        assert all(e.label == source.labels[e.index] for e in exit_.easiest)
        confidences = [e.confidence for e in (*exit_.easiest, *exit_.hardest[::-1])]
        assert confidences == sorted(confidences, reverse=True)


def test_exits_by_class_counts_every_input_once(document, source: Source) -> None:  # type: ignore[no-untyped-def]
    assert document.labels == source.classes
    for point in document.ways:
        if point.exit_shares is None:
            assert point.exits_by_class is None
            continue
        counts = np.array(point.exits_by_class)
        np.testing.assert_array_equal(counts.sum(1), np.bincount(source.labels, minlength=len(source.classes)))
        np.testing.assert_allclose(counts.sum(0) / 64, point.exit_shares)
