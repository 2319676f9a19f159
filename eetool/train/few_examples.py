"""Warning before a training whose held-out examples will be too few to tune with."""

from eetool.model.goals import DEFAULT_DROP, fewest_examples
from eetool.progress import Progress
from eetool.wording import counted


def warn_few_held_out(n: int, progress: Progress) -> None:
    """Note where n held-out examples cannot support the accuracy drops that `tune` asks by default."""
    whole, half = fewest_examples(DEFAULT_DROP), fewest_examples(DEFAULT_DROP / 2)
    assert half is not None
    if n < half:
        progress.note(
            f"warning: {counted(n, 'example')} held out for tuning, enough for accuracy drops of {100 / (n + 1):.2g} "
            f"points or more. The default of `tune`, {DEFAULT_DROP:g} for `fast` and half of it for `balanced`, takes "
            f"{whole} and {half} at least. Bring more examples, or tune with a larger --max-accuracy-drop."
        )
