"""Write `tests/helpers/streams_golden.json`: worked decisions on streams that every runtime repeats within 1e-6.

    python -m tools.write_streams_golden

The rule of docs/streams.md is computed here with plain numbers, one class after the other, and not by a runtime.
"""

import json
import math
import random
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "tests/helpers/streams_golden.json"

Frame = dict[str, Any]
State = dict[str, Any]


def softmax(logits: list[float], temperature: float) -> list[float]:
    """Return the calibrated probabilities."""
    scaled = [value / temperature for value in logits]
    powers = [math.exp(value - max(scaled)) for value in scaled]
    return [power / math.fsum(powers) for power in powers]


def first_largest(values: list[float]) -> int:
    """Return the index of the largest value, the first of several."""
    return values.index(max(values))


def seen_exits(case: dict[str, Any], frame: Frame, full_depth: bool) -> list[int]:
    """Return the exits that run on a frame while none fires."""
    policy, final = case["policy"], len(case["policy"]["thresholds"])
    if frame["logits"] is None:
        return []
    if frame.get("last_exit") is not None:  # a deadline: every exit runs, up to this one
        return list(range(frame["last_exit"] + 1))
    if full_depth:
        return [final]
    compared = policy.get("skip_distance") is not None
    early = [k for k in range(final) if policy["thresholds"][k] is not None or (k == 0 and compared)]
    return [*early, final]


def answer(case: dict[str, Any], state: State, frame: Frame) -> tuple[dict[str, Any], State]:
    """Return the expected answer to a frame, and the state after it."""
    policy, rates = case["policy"], case["base_rates"]
    final = len(policy["thresholds"])
    start = {"posterior": rates, "scene": None, "early_frames": 0, "time_s": None}
    now, before = frame.get("time_s"), state["time_s"]
    restarted = now is not None and before is not None
    restarted = restarted and (now < before or now - before > (policy.get("gap_s") or math.inf))
    state = start if restarted else state
    full_depth = policy.get("check_every", 0) > 0 and state["early_frames"] + 1 >= policy["check_every"]
    epsilon = policy["epsilon"]
    prior = [(1 - epsilon) * p + epsilon * rate for p, rate in zip(state["posterior"], rates, strict=True)]
    posterior, raw, scene, evidence, index, fired = prior, None, None, -1, -1, False
    for index in seen_exits(case, frame, full_depth):
        raw = None
        if frame["logits"][index] is None:
            continue
        own = softmax(frame["logits"][index], case["temperatures"][index])
        early = index < final and not full_depth
        if index == 0 and early and policy.get("skip_distance") is not None:
            if state["scene"] is not None:
                apart = 0.5 * math.fsum(abs(a - b) for a, b in zip(own, state["scene"], strict=True))
                if apart <= policy["skip_distance"]:
                    state = {**state, "early_frames": state["early_frames"] + 1, "time_s": now}
                    label = first_largest(state["posterior"])
                    return row(0, label, first_largest(own), state["posterior"], restarted, skipped=True), state
            scene = own
        products = [p * q / rate for p, q, rate in zip(prior, own, rates, strict=True)]
        posterior = [product / math.fsum(products) for product in products]
        evidence, raw = index, first_largest(own)
        threshold = policy["thresholds"][index] if early else None
        agrees = raw == first_largest(posterior) or not policy.get("agree", True)
        if threshold is not None and max(posterior) >= threshold and agrees:
            fired = True
            break
    gated = fired or index in (final, -1)
    early_frames = 0 if evidence == final else state["early_frames"] + 1
    scene = scene if gated else None
    after = {"posterior": posterior, "scene": scene, "early_frames": early_frames, "time_s": now}
    return row(index, first_largest(posterior), raw, posterior, restarted, gated=gated), after


def row(
    index: int,
    label: int,
    raw: int | None,
    posterior: list[float],
    restarted: bool,
    *,
    skipped: bool = False,
    gated: bool = True,
) -> dict[str, Any]:
    """Return one expected answer."""
    flags = {"gated": gated, "skipped": skipped, "restarted": restarted}
    return {"exit": index, "label": label, "raw_label": raw, **flags, "posterior": [round(p, 9) for p in posterior]}


def worked() -> dict[str, Any]:
    """Return the case that docs/streams.md shows."""
    logits = [
        [[1.5, 0.5, 0.0], [6.0, 0.0, 0.0]],
        [[1.5, 1.0, 0.0], [6.0, 0.0, 0.0]],
        [[0.5, 1.0, 0.0], [1.0, 1.4, 0.0]],
        [[0.0, 1.5, 0.0], [0.0, 8.0, 0.0]],
        [[0.0, 1.5, 0.0], [0.0, 8.0, 0.0]],
    ]
    policy = {"epsilon": 0.1, "thresholds": [0.8]}
    frames = [{"logits": pair} for pair in logits]
    case = {"name": "worked", "policy": policy, "base_rates": [0.5, 0.3, 0.2], "temperatures": [1.0, 2.0]}
    return {**case, "frames": [*frames, {"logits": None}]}


def drawn(name: str, seed: int, **policy: Any) -> dict[str, Any]:
    """Return a case of 40 frames of 4 classes and 3 exits, with exits and frames that are not finite."""
    draw = random.Random(seed)
    frames: list[Frame] = []
    time_s, label = 0.0, 0
    for number in range(40):
        label = draw.randrange(4) if draw.random() < 0.15 else label
        sharpness = (1.0, 2.0, 3.0)
        logits = [[round(draw.gauss(0, 1) + s * (c == label), 2) for c in range(4)] for s in sharpness]
        if frames and frames[-1]["logits"] is not None and draw.random() < 0.3:
            logits = [list(values) if values is not None else [0.0] * 4 for values in frames[-1]["logits"]]
        frame: Frame = {"logits": [None if draw.random() < 0.05 else values for values in logits]}
        if draw.random() < 0.05:
            frame["logits"] = None
        if draw.random() < 0.1 and number:
            frame["last_exit"] = draw.randrange(3)
        if name != "without times":
            time_s = round(time_s + draw.choice((0.5, 0.5, 0.5, 0.5, 4.0, -1.0)), 1)
            frame["time_s"] = time_s
        frames.append(frame)
    rates = [0.4, 0.3, 0.2, 0.1]
    return {"name": name, "policy": policy, "base_rates": rates, "temperatures": [1.5, 1.0, 0.7], "frames": frames}


def cases() -> list[dict[str, Any]]:
    """Return all cases with their expected answers."""
    chosen = [
        worked(),
        drawn("without times", 1, epsilon=0.02, thresholds=[0.9, 0.9], check_every=6),
        drawn("gaps", 2, epsilon=0.02, thresholds=[0.85, 0.9], agree=False, gap_s=2.0),
        drawn("scenes", 3, epsilon=0.05, thresholds=[None, 0.8], skip_distance=0.05, check_every=9, gap_s=5.0),
        drawn("no memory", 4, epsilon=1.0, thresholds=[0.6, 0.6]),
        drawn("full depth", 5, epsilon=0.01, thresholds=[0.9, 0.9], check_every=1),
    ]
    for case in chosen:
        state: State = {"posterior": case["base_rates"], "scene": None, "early_frames": 0, "time_s": None}
        for frame in case["frames"]:
            frame["expected"], state = answer(case, state, frame)
    return chosen


def golden_text() -> str:
    """Return the file, one frame per line."""
    parts = []
    for case in cases():
        frames = ",\n".join("      " + json.dumps(frame) for frame in case["frames"])
        head = json.dumps({key: value for key, value in case.items() if key != "frames"})[:-1]
        parts.append(f'    {head}, "frames": [\n{frames}\n    ]}}')
    return '{\n  "cases": [\n' + ",\n".join(parts) + "\n  ]\n}\n"


if __name__ == "__main__":
    GOLDEN.write_text(golden_text(), encoding="utf-8")
