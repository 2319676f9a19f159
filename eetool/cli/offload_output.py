"""Text and document of a choice between a server and the device alone."""

from typing import TYPE_CHECKING, Any

from eetool.cli.output import table

if TYPE_CHECKING:
    from eetool.api.offload_tuning import OffloadTuning
    from eetool.tune.offload_choice import OffloadChoice
    from eetool_runtime.manifest import Expected

_SHORT = {"latency_ms": "ms", "energy_mj": "mJ"}


def offload_document(offload: "OffloadTuning") -> dict[str, Any]:
    """Return the choice of every operating point, and the figures of those that ask the server."""
    forecast = offload.forecast
    return {
        "device": forecast.device,
        "unit": forecast.unit,
        "url_host": forecast.url_host,
        "timeout_ms": forecast.timeout_ms,
        "wait": forecast.wait,
        "p_fail": forecast.p_fail,
        "sent_bytes": offload.sent_bytes,
        "max_share": offload.max_share,
        "power_save": offload.power_save,
        "choices": forecast.points,
        "operating_points": offload.points,
    }


def offload_text(offload: "OffloadTuning") -> list[Any]:
    """Return the table of both link states and what decided, one line per operating point."""
    forecast, unit = offload.forecast, _SHORT[offload.forecast.unit]
    head = (
        f"server at {forecast.url_host}: {sent_text(offload.sent_bytes)} per input, in the mean {forecast.wait:.3g} "
        f"{unit} until the answer, at most {forecast.timeout_ms:g} ms; {100 * forecast.p_fail:.3g} % of the calls fail"
    )
    rows = [_row(name, choice, offload) for name, choice in forecast.points.items()]
    right = (f"alone {unit}", "sent", f"link up {unit}", "accuracy up", f"link down {unit}", "accuracy down")
    lines = [_decision(name, choice, unit) for name, choice in forecast.points.items()]
    if not any(choice.offloads for choice in forecast.points.values()):
        lines.append("never offload: at no operating point asking the server pays on this device and link")
    if offload.power_save == "on":
        lines.append(
            "warning: the Wi-Fi interface saved power during the measurement, which delays answers: "
            "`sudo iw dev INTERFACE set power_save off`, then measure the link again"
        )
    lines += [f"warning: with the server: {line}" for line in offload.warnings]
    return [head, table({"point": "left", **dict.fromkeys(right, "right")}, rows), *lines]


def sent_text(count: int | None) -> str:
    """Return a number of bytes, which the lengths of inputs may decide."""
    return "a varying number of bytes" if count is None else f"{count:,} B"


def _row(name: str, choice: "OffloadChoice", offload: "OffloadTuning") -> tuple[str, ...]:
    point = offload.points.get(name)
    up, down = (None, None) if point is None else (point.link_up, point.link_down)
    return (
        name,
        f"{choice.local:.4g}",
        "–" if choice.share is None else f"{100 * choice.share:.3g} %",
        _number(choice.link_up),
        _accuracy(up),
        _number(choice.link_down),
        _accuracy(down),
    )


def _decision(name: str, choice: "OffloadChoice", unit: str) -> str:
    """Return the choice and the figure that it turns on."""
    if choice.link_up is None:
        return f"{name}: never offload: no thresholds keep the share that may be sent within the accuracy drop"
    if choice.break_even is None:
        return f"{name}: never offload: every input leaves on the device"
    pays = f"pays while an answer takes less than {choice.break_even:.3g} {unit} in the mean"
    if choice.offloads:
        return f"{name}: offload: it {pays}; it takes {choice.wait:.3g}"
    if choice.break_even <= 0:
        return f"{name}: never offload: no link would pay, what lies behind costs the device less than sending it"
    return f"{name}: never offload: it {pays}, and it takes {choice.wait:.3g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _accuracy(expected: "Expected | None") -> str:
    return "–" if expected is None else f"{100 * expected.accuracy:.2f} %"
