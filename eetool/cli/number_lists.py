"""Lists of numbers in options."""

import math

_IMAGENET = "0.485,0.456,0.406/0.229,0.224,0.225"
# Of pixels in [0, 1], for all channels: to [-1, 1], and unchanged.
_PRESETS = {"imagenet": _IMAGENET, "half": "0.5/0.5", "none": "0/1"}
_DATASET = "dataset"


def parse_numbers(option: str, text: str | None) -> tuple[float, ...]:
    """Return the non-negative numbers of `text`, which commas separate."""
    from eetool.errors import UsageError

    try:
        numbers = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        numbers = (math.nan,)
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise UsageError(f"{option} {text!r} are not numbers from 0 up", "Such as 1,0.5,2.")
    return numbers


def parse_normalisation(option: str, text: str | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and standard deviation of pixels in [0, 1], per channel or one for all.

    They are written M,M,M/S,S,S, or as a preset. None stands for those of the data.
    """
    from eetool.errors import UsageError

    if text in (None, _DATASET):
        return None
    known = (*_PRESETS, _DATASET)
    if text not in _PRESETS and text[:1].isalpha():
        from eetool_runtime.near_names import did_you_mean

        raise UsageError(
            f"{option} {text!r} is unknown", f"{did_you_mean(text, known)}Known: {', '.join(known)}, or M,M,M/S,S,S."
        )
    mean, _, deviation = _PRESETS.get(text, text).partition("/")
    rule = parse_numbers(option, mean), parse_numbers(option, deviation)
    if not rule[0] or len(rule[0]) != len(rule[1]) or min(rule[1]) == 0:
        raise UsageError(
            f"{option} {text!r} is no mean and deviation per channel",
            f"Such as {', '.join(_PRESETS)}, {_DATASET} or {_IMAGENET}.",
        )
    return rule
