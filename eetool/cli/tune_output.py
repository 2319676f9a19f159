"""Result of `eetool tune`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eetool.cli.number_format import drop_text, percent
from eetool.cli.offload_output import offload_document, offload_text
from eetool.cli.output import CommandResult, table
from eetool.wording import counted, cut_remarks, scope_words

if TYPE_CHECKING:
    from eetool.api.offload_tuning import OffloadTuning
    from eetool.tune.device_costs import DeviceCosts
    from eetool.tune.exit_diagnostics import Diagnosis
    from eetool.tune.operating_points import TuningResult
    from eetool_runtime.manifest import Certificate

Retry = Callable[[float], str]


@dataclass(frozen=True)
class DeviceFigures:
    """Costs of components on a device, and the mean cost of an input at every operating point."""

    costs: "DeviceCosts"
    means: dict[str, float]


def tune_result(
    retry: Retry,
    output: Path,
    tuned: "TuningResult",
    max_accuracy_drop: float,
    figures: DeviceFigures | None = None,
    offload: "OffloadTuning | None" = None,
) -> CommandResult:
    """Return the operating points and the diagnosis of a tuned model.

    Args:
        retry: returns the command that tunes it again, and asks no smaller accuracy drop than its argument.
        output: the tuned model.
        tuned: its policy.
        max_accuracy_drop: in percentage points.
        figures: costs on a device.
        offload: choice between a server and the device alone.
    """
    text: list[Any] = [
        _points(tuned, figures),
        *([] if offload is None else offload_text(offload)),
        "exits at balanced, over the examples that reach them; accuracy, ECE and AUROC in %:",
        _exits(tuned.diagnoses["balanced"]),
        *_streams(tuned),
        *_notes(tuned, max_accuracy_drop, figures, retry),
        f"wrote {output}",
    ]
    document = {
        "output": str(output),
        "max_accuracy_drop": max_accuracy_drop,
        "calibration": tuned.calibration.method,
        **vars(tuned.calibration),
        "operating_points": tuned.operating_points,
        "cost": _cost_document(figures),
        "diagnoses": tuned.diagnoses,
        "default": tuned.default,
        "expected_drops": tuned.expected_drops,
        "smallest_drop": tuned.smallest_drop,
        "shortfalls": tuned.shortfalls,
        "stream": tuned.stream,
        "offload": None if offload is None else offload_document(offload),
    }
    return CommandResult("tune/1", document, text)


def _points(tuned: "TuningResult", figures: DeviceFigures | None) -> Any:
    rows = []
    for name, point in tuned.operating_points.items():
        e = point.expected
        assert e is not None  # tuning records the expected figures
        rows.append(
            (
                f"{name} (default)" if name == tuned.default else name,
                "  ".join("never" if t is None else f"{t:.4f}" for t in point.thresholds),
                f"{100 * e.accuracy:.2f} %",
                _drop(tuned, name),
                f"{e.mean_macs / 1e6:.2f} M",
                *([f"{figures.means[name]:.4g}"] if figures else []),
                "  ".join(f"{100 * share:.0f} %" for share in e.exit_shares),
            )
        )
    columns = {
        "point": "left",
        "thresholds": "left",
        "expected accuracy": "right",
        "drop (95 % interval)": "right",
        "mean MACs": "right",
        **({f"mean {figures.costs.unit}": "right"} if figures else {}),
        "leave at exit 0, 1, …": "left",
    }
    return table(columns, rows)


def _streams(tuned: "TuningResult") -> list[Any]:
    """Return the table of operating points for streams, if they were fitted."""
    stream = tuned.stream
    if stream is None:
        return []
    rows = []
    for name, point in stream.points.items():
        e, policy = point.expected, point.policy
        assert e is not None  # tuning records the expected figures
        rows.append(
            (
                f"{name} (default)" if name == stream.default else name,
                "  ".join("never" if t is None else f"{t:g}" for t in policy.thresholds),
                f"{policy.epsilon:g}",
                "yes" if policy.agree else "no",
                str(policy.check_every or "–"),
                "–" if policy.skip_distance is None else f"{policy.skip_distance:g}",
                f"{100 * e.accuracy:.2f} %",
                drop_text(stream.expected_drops[name]),
                f"{e.mean_macs / 1e6:.2f} M",
                _seconds(e.reaction_mean_s),
                _seconds(e.reaction_p95_s),
                "–" if e.false_switches_per_minute is None else f"{e.false_switches_per_minute:.1f}",
            )
        )
    columns = dict.fromkeys(
        ("point", "thresholds", "ε", "agree", "check", "skip", "accuracy", "drop (95 % interval)", "MACs"), "right"
    ) | dict.fromkeys(("reaction s", "p95 s", "false switches/min"), "right")
    e = next(iter(stream.points.values())).expected
    assert e is not None
    head = f"streams, a frame every {stream.period_s:g} s; expected on new groups, from {counted(e.n, 'frame')}:"
    return [head, table(columns, rows)]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _drop(tuned: "TuningResult", name: str) -> str:
    drop = tuned.expected_drops.get(name)
    if drop is None or name == "full":
        return "–"
    return drop_text(drop)


def _notes(tuned: "TuningResult", max_accuracy_drop: float, figures: DeviceFigures | None, retry: Retry) -> list[str]:
    from eetool.tune.point_names import same_thresholds

    e = tuned.operating_points["full"].expected
    assert e is not None  # tuning records the expected figures
    lines = [f"accuracy and drop are expected on new data, from {counted(e.n, 'held-out example')} ({e.split})"]
    fast = tuned.expected_drops["fast"]
    if fast.optimism >= 0.005:
        lines[0] += f"; on these themselves, where it was chosen, `fast` looks {fast.optimism:.2f} points better"
    lines += _shortfalls(tuned, e.n, retry)
    lines += [f"warning: {line}" for line in tuned.warnings]
    if figures:
        costs = figures.costs
        scope = f", {scope_words(costs.scope)}" if costs.scope else ""
        lines.append(f"{costs.unit} on {costs.device}: {costs.provenance}{scope}; thresholds minimise it")
    unit = f"{figures.costs.unit} on {figures.costs.device}" if figures else "MACs (--device NAME: by its latency)"
    lines.append(
        f"default point: {tuned.default}, kept from an earlier --default; --default NAME makes another the default"
        if tuned.keeps_default
        else f"default point: {tuned.default}; without --default the cheapest within the drop, by {unit}"
    )
    for names in same_thresholds(tuned.operating_points):
        lines.append(f"{' and '.join(names)} have the same thresholds: no cheaper ones keep the larger drop")
    if all(t is None for t in tuned.operating_points["fast"].thresholds):
        lines.append(
            f"No exit may be used: at a drop of {max_accuracy_drop:g} points no gate saves anything. "
            "Allow a larger drop, or train the exits longer."
        )
    for name, point in tuned.operating_points.items():
        if point.certificate is not None:
            lines.append(_certificate_text(name, point.certificate))
    for name, diagnosis in tuned.diagnoses.items():
        lines += _degenerate(name, diagnosis)
    return lines


def round_up(drop: float) -> float:
    """Return percentage points with two decimals, and no fewer."""
    return math.ceil(round(100 * drop, 6)) / 100


def _shortfalls(tuned: "TuningResult", n: int, retry: Retry) -> list[str]:
    """Return a line where fewer points were asked than the held-out examples support."""
    if not tuned.shortfalls or tuned.smallest_drop is None:
        return []
    asked = []
    for name, shortfall in tuned.shortfalls.items():
        number = shortfall.examples_needed
        takes = "no number of such examples supports it" if number is None else f"takes about {number} examples"
        asked.append(f"{shortfall.max_accuracy_drop:g} points (`{name}`): {takes}")
    supported = f"{round_up(tuned.smallest_drop):g}"
    return [
        f"few examples: {n} of them support a drop of {supported} points or more. Less was asked: {'; '.join(asked)}. "
        f"There, points lose nothing on these examples, and the interval says what that proves. "
        f"To ask no more than they support: {retry(tuned.smallest_drop)}"
    ]


def _cost_document(figures: DeviceFigures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    names = ("device", "unit", "provenance", "scope")
    return {**{name: getattr(figures.costs, name) for name in names}, "means": figures.means}


def _certificate_text(name: str, c: "Certificate") -> str:
    return (
        f"{name}: on new data at most {c.max_accuracy_drop} points below full depth, with probability {c.confidence} "
        f"(of {c.n} examples {c.worse} became wrong, {c.better} right; p = {c.p_value:.3g})"
    )


def _degenerate(name: str, diagnosis: "Diagnosis") -> list[str]:
    """Return a line if an operating point amounts to a shorter static network."""
    return cut_remarks({name: diagnosis.degenerate_exit})


def _exits(diagnosis: "Diagnosis") -> Any:
    columns = dict.fromkeys(("exit", "reached by", "accuracy", "ECE", "AUROC", "leave"), "right")
    rows = [
        (str(i), str(e.n), percent(e.accuracy, 2), percent(e.calibration_error), percent(e.auroc), str(e.leave))
        for i, e in enumerate(diagnosis.exits)
    ]
    return table(columns, rows)
