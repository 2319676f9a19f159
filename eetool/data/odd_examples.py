"""Signs of faulty data in a source that no rule forbids: copies, and channels or examples without content."""

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from eetool.data.source import Source
from eetool.wording import counted

_DARK = 16  # of 255


def odd_examples(source: Source) -> Iterator[str]:
    """Yield a line for each thing about the examples of `source` that the user should know."""
    if source.are_pixels:
        yield from _odd_pixels(source)
    digests = [blake2b(example.tobytes(), digest_size=16).digest() for example in source.inputs]
    if len(set(digests)) == 1:
        yield f"warning: all {len(digests)} examples are alike, so that nothing can be learned from them"
        return
    yield from _copies(source, digests)


def _odd_pixels(source: Source) -> Iterator[str]:
    training = source.inputs[: source.training_count]
    lowest, highest = training.min((0, 2, 3)), training.max((0, 2, 3))
    for channel in np.flatnonzero(lowest == highest):
        yield f"warning: channel {channel} has the value {lowest[channel]} in every pixel of all training images"
    brightest = source.inputs.max()
    if 0 < brightest < _DARK:
        yield f"warning: the largest value of all images is {brightest}, where white is 255"


def _copies(source: Source, digests: list[bytes]) -> Iterator[str]:
    """Yield how many examples are copies, by the sets that they are in."""
    n_training = source.training_count
    training = set(digests[:n_training])
    ends = {"validation": n_training + source.official_validation, "test": len(digests)}
    start = n_training
    for name, end in ends.items():
        copies = sum(digest in training for digest in digests[start:end])
        if copies:
            of, verb = counted(end - start, f"{name} example"), "is" if copies == 1 else "are"
            yield f"warning: of {of} {copies} {verb} also among the training examples"
        start = end
    copies = n_training - len(training)
    if copies and not source.official_test:
        yield f"warning: {counted(copies, 'copy', 'copies')} of other examples; training and test can both have one"
    pairs = len(set(zip(digests, source.labels.tolist(), strict=True))) - len(set(digests))
    if pairs:
        yield f"warning: {counted(pairs, 'copy', 'copies')} of other examples with another label"
