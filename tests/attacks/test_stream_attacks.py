"""Hostile policies for streams: both runtimes refuse them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eetool_runtime as ee
from tests.helpers.native_build import onnxruntime_library
from tests.helpers.native_runtime import Library
from tests.helpers.tiny_bundle import VARIANT, image, with_stream, write_manifest, write_tiny_bundle

Refusal = Callable[[Path], str]
POINTS = ("stream", "operating_points", VARIANT)
POLICY = (*POINTS, "stream-balanced", "policy")
EXPECTED = (*POINTS, "stream-balanced", "expected")

# The place, the new value and the expected message.
ROWS: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "in version 1.0": (("schema_version",), "1.0", r"stream\.version 1\.0 has no such field"),
    "a list": (("stream",), [], "stream: expected an object"),
    "unknown field": ((*POLICY, "colour"), "red", r"policy\.colour: unknown field"),
    "no time between frames": (("stream", "period_s"), 0, r"stream\.period_s: must lie in"),
    "negative period": (("stream", "period_s"), -0.5, r"stream\.period_s: must lie in"),
    "rates of other classes": (("stream", "base_rates"), [0.5, 0.5], r"base_rates: 2; one per class"),
    "no rates": (("stream", "base_rates"), [], r"base_rates: 0; one per class"),
    "rates above 1": (("stream", "base_rates"), [0.5, 0.5, 0.5, 0.5], "base_rates: must be at least 1e-06 and sum"),
    "class that never occurs": (("stream", "base_rates"), [0.5, 0.5, 0.0, 0.0], "base_rates: must be at least"),
    "negative rate": (("stream", "base_rates"), [1.5, -0.5, 0.5, -0.5], "base_rates: must be at least"),
    "no variants": (("stream", "operating_points"), {}, "at least one variant is needed"),
    "unknown variant": (("stream", "operating_points", "onnx/int8"), {}, "onnx/int8: there is no such variant"),
    "default that is not there": (("stream", "default_operating_point"), "turbo", "the default 'turbo' is missing"),
    "name that is a path": ((*POINTS, "../x"), {"policy": {"epsilon": 0.1, "thresholds": [1, 1]}}, "is not a name"),
    "never the base rates": ((*POLICY, "epsilon"), 0, r"epsilon: must lie in \[1e-06, 1\]"),
    "negative epsilon": ((*POLICY, "epsilon"), -1, "epsilon: must lie in"),
    "epsilon above 1": ((*POLICY, "epsilon"), 1.5, "epsilon: must lie in"),
    "epsilon as text": ((*POLICY, "epsilon"), "0.1", "epsilon: expected a number"),
    "too few thresholds": ((*POLICY, "thresholds"), [0.9], "thresholds: 1; one per early exit"),
    "threshold above 2": ((*POLICY, "thresholds"), [0.9, 2.5], r"thresholds: 2\.5 does not lie in"),
    "agree as a number": ((*POLICY, "agree"), 1, "agree: expected true or false"),
    "negative check": ((*POLICY, "check_every"), -1, "check_every: must lie in"),
    "check of a fraction": ((*POLICY, "check_every"), 1.5, "check_every: expected an integer"),
    "check after ages": ((*POLICY, "check_every"), 10**17, "check_every: must lie in"),
    "distance above 1": ((*POLICY, "skip_distance"), 1.01, "skip_distance: must lie in"),
    "no gap": ((*POLICY, "gap_s"), 0, "gap_s: must lie in"),
    "endless gap": ((*POLICY, "gap_s"), 1e10, "gap_s: must lie in"),
    "no sequences": ((*EXPECTED, "sequences"), 0, "sequences: must lie in"),
    "more sequences than frames": ((*EXPECTED, "sequences"), 41, "sequences: must lie in"),
    "accuracy above 1": ((*EXPECTED, "accuracy"), 1.5, "accuracy: must lie in"),
    "shares of other exits": ((*EXPECTED, "exit_shares"), [1.0], "one per exit is needed"),
    "shares above 1": ((*EXPECTED, "exit_shares"), [1.0, 1.0, 0.0], "shares that sum to 1"),
    "reached by more": ((*EXPECTED, "reached", 0, "n"), 41, "reached: a number is out of range"),
    "reaction before the change": ((*EXPECTED, "reaction_mean_s"), -1, "reaction_mean_s: cannot be negative"),
    "split that clears the screen": ((*EXPECTED, "split"), "\x1b[2J", "1 to 256 characters"),
}


@pytest.fixture
def with_streams(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path, edit=with_stream)


@pytest.mark.parametrize(("keys", "value", "message"), list(ROWS.values()), ids=list(ROWS))
def test_load_hostile_stream_policy_is_refused(
    with_streams: Path, refusal: Refusal, keys: tuple[Any, ...], value: Any, message: str
) -> None:
    document = json.loads((with_streams / "manifest.json").read_text(encoding="utf-8"))
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    write_manifest(with_streams, document)
    output = refusal(with_streams)
    assert re.search(message, output), output


def test_load_bundle_with_streams_answers_single_inputs_in_both_runtimes(
    tmp_path: Path, with_streams: Path, native_or_none: Library | None
) -> None:
    plain = ee.load(write_tiny_bundle(tmp_path / "plain"))
    x = image(1, 1.0)
    expected = plain(x)
    assert ee.load(with_streams)(x).exit == expected.exit
    if native_or_none is not None:
        answer = native_or_none.load(with_streams, engine=onnxruntime_library())(x)
        assert (answer.exit, answer.label) == (expected.exit, expected.label)
