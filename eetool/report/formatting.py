"""Texts of figures: tiles below the operating-point slider, and the verdict at the top of the page."""

from eetool.bench.device_comparison import Estimate
from eetool.latency.estimate.energy import Energy
from eetool.report.inputs import ReportInputs
from eetool.report.operating_points import ReportPoint
from eetool.wording import counted, scope_words

UNKNOWN = "not known"


def verdict_texts(inputs: ReportInputs) -> tuple[str, str, str]:
    """Return the headline, the sentence below it, and the conditions of the measurement."""
    bench, bundle = inputs.bench, inputs.bundle
    if inputs.asked_prediction is not None:
        return _device_texts(inputs.asked_prediction)
    if bench is not None:
        headline = bench.verdict.headline
        text = sentence(bench.verdict.text.removeprefix(f"{headline}: "), *(way.name for way in bench.ways))
        machine = bench.machine.board or bench.machine.cpu or bench.machine.architecture
        facts = (
            f"{bench.bundle} {', '.join(bench.variants)}, {counted(bench.data.n, 'example')} of {bench.data.source} "
            f"({bench.data.split} split), batch 1, {threads(bench.threads)}, measured on {machine}"
        )
        return headline, text, facts
    if inputs.advice is not None and bundle is None:
        verdict = inputs.advice.verdict
        text = verdict.text.removeprefix(f"{verdict.headline}: ")
        facts = f"a forecast before the training, on {counted(inputs.advice.held_out_examples, 'held-out example')}"
        return verdict.headline, text[:1].upper() + text[1:], facts
    name = bundle.manifest.name if bundle is not None else "this model"
    return (
        "No verdict yet",
        f"These documents hold no measured latency of {name} and of the model without exits.",
        "Measure it with: eetool bench BUNDLE --data SOURCE -o bench.json",
    )


def _device_texts(p: Estimate) -> tuple[str, str, str]:
    facts = (
        f"{p.model} {p.variant}, predicted for {p.device} from its latency table ({p.backend}, {p.precision}, "
        f"{threads(p.threads)}), not measured there"
    )
    verdict = p.comparison.verdict if p.comparison is not None else None
    if verdict is None:
        return f"No verdict for {p.device}", sentence(p.reason or "The model has no operating points."), facts
    headline = f"{verdict.headline} on {p.device}"
    return headline, sentence(verdict.text.removeprefix(f"{headline}: "), verdict.way), facts


def measured_text(inputs: ReportInputs) -> str:
    """Return the verdict of the benchmark in one line, for a page that begins with that of a device."""
    bench = inputs.bench
    if bench is None or inputs.asked_prediction is None:
        return ""
    machine = bench.machine.board or bench.machine.cpu or bench.machine.architecture
    return f"Measured on {machine}: {bench.verdict.text}"


def unstable_texts(inputs: ReportInputs) -> list[str]:
    """Return the reasons to distrust measured times, those that were accepted included."""
    measured = (("benchmark", inputs.bench), ("profile", inputs.profile))
    return [f"unstable {name}: {reason}" for name, document in measured if document for reason in document.unstable]


def sentence(text: str, *names: str) -> str:
    """Return a text that begins with a capital letter, unless it begins with a name."""
    return text if text.startswith(names or ("\0",)) else text[:1].upper() + text[1:]


def tile_texts(point: ReportPoint, inputs: ReportInputs) -> dict[str, str]:
    """Return the texts of the tiles at one operating point, by the names of the tiles."""
    bench = inputs.bench
    base = next((way for way in bench.ways if way.name == bench.reference), None) if bench else None
    ratio = f"{point.mean_ms / base.latency_ms.mean:.2f} of {base.name}" if base and point.mean_ms else ""
    drop = f"{100 * (point.accuracy - base.accuracy):+.2f} points to {base.name}" if base else f"expected on {point.n}"
    return {
        "name": point.name,
        "accuracy": f"{100 * point.accuracy:.2f} %",
        "accuracy-note": drop,
        "mean": milliseconds(point.mean_ms),
        "mean-note": ratio or ("run bench" if point.mean_ms is None else ""),
        "p99": milliseconds(point.p99_ms),
        "p99-note": "of single inputs" if point.p99_ms is not None else "run bench",
        "energy": energy(point.energy_mj),
        "energy-note": energy_note(point.energy_mj) or "profile --power",
        "saved": percent(point.compute_saved),
        "saved-note": "of the MACs",
        "shares": " / ".join(f"{100 * share:.0f}" for share in point.exit_shares or ()),
        "shares-note": "% at exit 0, 1, …",
    }


def milliseconds(value: float | None) -> str:
    """Return three digits and the unit."""
    return UNKNOWN if value is None else f"{_digits(value)} ms"


def energy(value: Energy) -> str:
    """Return three digits and the unit."""
    return UNKNOWN if value.value is None else f"{_digits(value.value)} mJ"


def _digits(value: float) -> str:
    return f"{value:#.3g}" if value < 100 else f"{value:.0f}"


def energy_note(value: Energy) -> str:
    """Return provenance and scope of an energy."""
    return "" if value.value is None else f"{value.provenance}, {scope_words(value.scope)}"


def percent(share: float | None) -> str:
    """Return a share of [0, 1] as a percentage."""
    return UNKNOWN if share is None else f"{100 * share:.0f} %"


def threads(count: int) -> str:
    """Return `1 thread`, `4 threads`."""
    return counted(count, "thread")
