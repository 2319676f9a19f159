"""Readings of the link for a `Governor`."""

from __future__ import annotations

from typing import Callable, Optional

from .model import OffloadingModel

_MIN_REQUESTS = 20  # for a meaningful percentile


def round_trip_ms(model: OffloadingModel, *, share: float = 0.9, requests: int = 100) -> Callable[[], Optional[float]]:
    """Return a reading for a `governor.Rule`: the quantile `share` of the duration of the last requests.

    Requests that timed out count with their budget. It is None before 20 requests, and while the link is down: the
    device then computes everything, whatever the link would take.
    """

    def read() -> Optional[float]:
        recent = sorted(model.recent_round_trips_ms(requests))
        return recent[int(share * (len(recent) - 1))] if model.link_is_up and len(recent) >= _MIN_REQUESTS else None

    return read
