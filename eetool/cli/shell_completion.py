"""Shell completion of paths and devices."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

BUNDLE_SUFFIX = ".eebundle"


class ArtefactPath(click.Path):
    """Path that completes to bundles and files with the given suffixes, or to any file if there are none."""

    def __init__(self, *suffixes: str) -> None:
        super().__init__(path_type=Path)
        self._suffixes = (BUNDLE_SUFFIX, *suffixes)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        folder, slash, begun = incomplete.rpartition("/")
        try:
            names = sorted(entry.name for entry in Path(f"{folder}{slash}" or ".").expanduser().iterdir())
        except OSError:
            names = []
        matches = [n for n in names if n.startswith(begun) and n.endswith(self._suffixes)]
        artefacts: list[CompletionItem] = [CompletionItem(f"{folder}{slash}{name}") for name in matches]
        return artefacts or [CompletionItem(incomplete, type="file")]


def complete_device(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
    """Return `host`, `ssh://` and the names of `complete_hw_profile` that begin with `incomplete`."""
    begin: list[str | CompletionItem] = [name for name in ("host", "ssh://") if name.startswith(incomplete)]
    return begin + complete_hw_profile(ctx, param, incomplete)


def complete_hw_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
    """Return the known devices and the hw profiles in the working folder that begin with `incomplete`."""
    from eetool.latency.table.hw_profile import profiles_folder

    known = sorted(path.stem for path in profiles_folder().glob("*.json"))
    local = sorted(path.name for path in Path().glob("*.json"))
    return [name for name in (*known, *local) if name.startswith(incomplete)]
