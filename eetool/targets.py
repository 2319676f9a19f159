"""Kinds of devices that need a variant of their own."""

TARGETS = {"mcu": "tflm/int8"}


def is_untimed(variant: str) -> bool:
    """Return whether the latency of a variant here says nothing of the device that it is made for."""
    return variant in TARGETS.values()
