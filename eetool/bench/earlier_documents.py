"""Documents of earlier versions of eetool, converted to `bench/2`."""

from collections.abc import Callable, Mapping
from typing import Any

EARLIER = "bench/1"


def upgrade(fields: Mapping[str, Any], refuse: Callable[[str], Exception]) -> dict[str, Any]:
    """Return the fields of a `bench/1` document, without its envelope, as those of `bench/2`.

    It compared one variant with its unsplit network. Marks of the front are null and intervals of rows empty, because
    they were not computed. Raise `refuse(reason)` where a field is missing or of another kind.
    """
    try:
        return _upgrade(fields)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, ZeroDivisionError):
        raise refuse(f"is no complete {EARLIER} document; run `eetool bench` again") from None


def _upgrade(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in fields.items() if k not in ("points", "verdict", "variant")}
    points, verdict, machine = fields["points"], dict(fields["verdict"]), fields["machine"]
    reference = points[0]  # the unsplit network came first
    return {
        **kept,
        "ways": [_way(point, reference, fields["variant"]) for point in points],
        "not_run": [],
        "verdict": {
            "way": verdict.pop("point"),
            "against": reference["name"],
            "accuracy_difference": 0.0,
            "accuracy_difference_ci95": [],
            **verdict,
        },
        "reference": reference["name"],
        "variants": [fields["variant"]],
        "engines": {machine["backend"]: machine["backend_version"]} if machine["backend"] else {},
        "timed": fields["data"]["n"],
    }


def _way(point: Mapping[str, Any], reference: Mapping[str, Any], variant: str) -> dict[str, Any]:
    early, unsplit = point["exit_shares"] is not None, point is reference
    return {
        **point,
        "kind": "early_exit" if early else "unsplit" if unsplit else "against",
        "variant": variant if early or unsplit else None,
        "operating_point": point["name"] if early else None,
        "front": None,
        "latency_ratio": point["latency_ms"]["mean"] / reference["latency_ms"]["mean"],
        "latency_ratio_ci95": [],
        "accuracy_difference": 100 * (point["accuracy"] - reference["accuracy"]),
        "accuracy_difference_ci95": [],
    }
