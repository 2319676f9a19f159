"""Names of data sources, checked before anything is read. No reader is imported, so that a slip is told at once."""

from eetool.errors import UsageError
from eetool_runtime.near_names import did_you_mean

# The kind of data before the colon, and its path after it.
NAMES = (
    *("digits", "cifar10[:DIR]", "cifar100[:DIR]", "svhn[:DIR]", "folder:DIR[@96]", "npz:FILE", "tsv:FILE|DIR"),
    *("frames:DIR[@96]", "signal:FILE@2/0.5"),
)
FOLDER, FRAMES, SIGNAL = "folder", "frames", "signal"
OF_IMAGE_FILES = frozenset({FOLDER, FRAMES})  # whose images may have any size
WITHOUT_PATH = frozenset({"digits"})
DOWNLOADED = frozenset({"cifar10", "cifar100", "svhn"})
KINDS = tuple(name.partition("[")[0].partition(":")[0] for name in NAMES)
KNOWN = f"Known sources: {', '.join(NAMES)}, or your own package.module:function."


def is_user_data(name: str) -> bool:
    """Return True for the name of a function of the user, such as `package.module:function`."""
    kind, colon, _ = name.partition(":")
    return bool(colon) and kind not in KINDS


def parse_source_name(name: str) -> tuple[str, str]:
    """Split the name of a source, such as `folder:photos`, into its kind and its path; the path may be empty.

    Raises:
        UsageError: there is no such kind, or its path is missing or not wanted; the hint lists the known ones.
    """
    kind, _, path = name.partition(":")
    if kind not in KINDS:
        raise UsageError(f"unknown data source {name!r}", did_you_mean(kind, KINDS) + KNOWN)
    if path and kind in WITHOUT_PATH:
        raise UsageError(f"the data source {name!r} takes no path", KNOWN)
    if not path and name not in WITHOUT_PATH | DOWNLOADED:
        raise UsageError(f"the data source {name!r} needs the path of its files", KNOWN)
    return kind, path
