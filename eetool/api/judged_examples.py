"""Examples that a bundle is judged on: its own test split, or data that are new to it."""

from typing import TYPE_CHECKING

from eetool.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from eetool.data.source import Source
    from eetool_runtime import Bundle


def judged_examples(bundle: "Bundle", source: "Source", new_data: bool, progress: Progress) -> "tuple[np.ndarray, str]":
    """Return the indices of the examples, and the name of their split.

    Args:
        bundle: the bundle.
        source: the data.
        new_data: all examples, none of which the model may have been made with.
        progress: receives notes.

    Raises:
        ArtefactError: the source is not that of the bundle; or with `new_data`, it has examples of it.
    """
    from eetool.data.contents import NEW, as_recorded, new_examples
    from eetool.data.splits import TEST, recorded_split
    from eetool.export.bundle_files import read_contents

    contents, data = read_contents(bundle), bundle.manifest.data
    if new_data:
        return new_examples(source, contents, progress), NEW
    return recorded_split(as_recorded(source, data, contents, progress), TEST, data), TEST
