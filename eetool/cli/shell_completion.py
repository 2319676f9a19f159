"""What the shell is told when somebody presses Tab on a path or a device."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

BUNDLE_SUFFIX = ".eebundle"


class ArtefactPath(click.Path):
    """A path that completes to bundles and to files with these suffixes; where there are none, to any file."""

    def __init__(self, *suffixes: str) -> None:
        super().__init__(path_type=Path)
        self._suffixes = (BUNDLE_SUFFIX, *suffixes)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        folder, slash, begun = incomplete.rpartition("/")
        try:
            names = sorted(entry.name for entry in Path(f"{folder}{slash}" or ".").expanduser().iterdir())
        except OSError:
            names = []
        found = [n for n in names if n.startswith(begun) and n.endswith(self._suffixes)]
        artefacts: list[CompletionItem] = [CompletionItem(f"{folder}{slash}{name}") for name in found]
        return artefacts or [CompletionItem(incomplete, type="file")]


def complete_device(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
    """Names of devices, and hw profiles in this folder."""
    from eetool.latency.table.hw_profile import profiles_folder

    known = sorted(path.stem for path in profiles_folder().glob("*.json"))
    mine = sorted(path.name for path in Path().glob("*.json"))
    return [name for name in ("host", "ssh://", *known, *mine) if name.startswith(incomplete)]
