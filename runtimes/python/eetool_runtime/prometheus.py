"""Statistics of a model in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

_Sample = tuple[str, Mapping[str, object], Optional[float]]  # suffix of the name, labels, value


def prometheus_text(stats: Mapping[str, Any]) -> str:
    """Return the figures of `Model.stats` as text; unknown figures are left out.

    Every sample has labels for the model and its variant, counters and latencies also for their operating point.
    Metric names include the unit; times are in milliseconds.
    """
    points = stats["operating_points"].items()
    base = {"model": stats["model"], "variant": stats["variant"]}
    lines: list[str] = []

    def family(name: str, kind: str, text: str, samples: Iterator[_Sample]) -> None:
        body = [_line(f"eetool_{name}{s}", {**base, **labels}, v) for s, labels, v in samples if v is not None]
        if body:
            lines.extend([f"# HELP eetool_{name} {text}", f"# TYPE eetool_{name} {kind}", *body])

    def each(field: str) -> Iterator[_Sample]:
        return (("", {"operating_point": point}, figures[field]) for point, figures in points)

    info = {"threads": stats["threads"], "pool": stats["pool"], "operating_point": stats["operating_point"] or "custom"}
    family("info", "gauge", "Settings in use.", iter([("", info, 1.0)]))
    family("exits_total", "counter", "Calls by the exit where they left.", _by_exit(points))
    family("ungated_total", "counter", "Calls that a deadline ended before a gate fired.", each("ungated"))
    family("overruns_total", "counter", "Calls that took longer than their deadline.", each("overruns"))
    family("compute_saved_ratio", "gauge", "1 - mean MACs / MACs of the unsplit model.", each("compute_saved"))
    family("exit_depth_mean", "gauge", "Mean exit index.", each("mean_exit_depth"))
    family("latency_ms", "summary", "Milliseconds per call; quantiles of recent calls.", _latencies(points))
    for field, text in (
        ("z", "Confidence against the bundle's figures, in standard errors, by exit reached."),
        ("p", "Two-sided p-value of that difference."),
    ):
        family(f"confidence_drift_{field}", "gauge", text, _drift(points, field))
    if "offload" in stats:
        _add_link(family, stats["offload"])
    return "\n".join(lines) + "\n"


def _add_link(family: Callable[..., None], link: Mapping[str, Any]) -> None:
    """Add the figures of a link to a server."""

    def each(label: str, counts: Mapping[str, Any]) -> Iterator[_Sample]:
        return (("", {label: name}, count) for name, count in counts.items())

    up = {"server": link["server"], "served_model": link["model"]}
    family("offload_link_up", "gauge", "1 while requests are sent.", iter([("", up, float(link["link"] == "up"))]))
    inputs = each("outcome", link["inputs"])
    family("offload_inputs_total", "counter", "Inputs that reached the cut, by what became of them.", inputs)
    family("offload_failures_total", "counter", "Requests that failed, by kind.", each("kind", link["failures"]))
    for name, text in (("requests", "Requests."), ("times_opened", "Times that the link was given up.")):
        family(f"offload_{name}_total", "counter", text, iter([("", {}, link[name])]))
    sizes = {"sent": link["bytes_sent"], "received": link["bytes_received"]}
    family("offload_bytes_total", "counter", "Bytes of requests and replies.", each("direction", sizes))
    trips = link["round_trip_ms"] or {}
    quantiles = {quantile: trips.get(field) for quantile, field in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))}
    family("offload_round_trip_ms", "gauge", "Milliseconds per answered request.", each("quantile", quantiles))


def _by_exit(points: Any) -> Iterator[_Sample]:
    for point, figures in points:
        for index, count in enumerate(figures["exit_counts"]):
            yield "", {"operating_point": point, "exit": index}, count


def _latencies(points: Any) -> Iterator[_Sample]:
    for point, figures in points:
        labels = {"operating_point": point}
        percentiles = figures["latency_ms"] or {}
        for quantile, field in (("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99")):
            yield "", {**labels, "quantile": quantile}, percentiles.get(field)
        yield "_sum", labels, figures["latency_ms_sum"]
        yield "_count", labels, figures["calls"]


def _drift(points: Any, field: str) -> Iterator[_Sample]:
    for point, figures in points:
        for index, test in enumerate(figures["drift"] or []):
            if test is not None:
                yield "", {"operating_point": point, "exit": index}, test[field]


def _line(name: str, labels: Mapping[str, object], value: Optional[float]) -> str:
    pairs = ",".join(f'{key}="{_escape(str(text))}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value!r}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
