"""Kinds of devices that need a variant of their own."""

TARGETS = {"mcu": "tflm/int8"}
_MERGES = {"mcu": "all"}  # every component has records in the arena; see docs/decisions/0066


def default_merge(target: str | None) -> str:
    """Return how exit branches are joined with their segments for a target where the user does not say."""
    return "none" if target is None else _MERGES.get(target, "none")


def is_untimed(variant: str) -> bool:
    """Return whether the latency of a variant here says nothing of the device that it is made for."""
    return variant in TARGETS.values()
