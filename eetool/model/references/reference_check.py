"""Check of a model reference that stands in a file: a file may ask for nothing that could do harm.

The user's own code is imported only where the user names it on the command line too. Every other reference must be a
name of eetool or of a library, with plain numbers and words that its configuration has.
"""

import re
from collections.abc import Sequence
from typing import Any

from eetool.errors import UsageError
from eetool.model.backbones.registry import VOCABULARY, is_text
from eetool.model.references import hf, libraries
from eetool.model.references.factory_call import is_factory, parse_factory, shell_quoted, write_factory
from eetool_runtime.records import Refuse

MAX_VOCABULARY = 1 << 22  # token ids; published vocabularies end below 300,000
_MAX_NAME = 512  # characters; the longest name that a search writes has about 300
_NAME = re.compile(r"[A-Za-z0-9_.@-]+")  # of a model in a library: no scheme, no path


def check_reference(
    backbone: str, config: dict[str, Any] | None, named: Sequence[str], where: str, refuse: Refuse
) -> None:
    """Accept a reference that a file may ask for, or a factory that the user has named.

    Args:
        backbone: the reference in the file.
        config: its configuration in the file.
        named: models that the user has named, as `--model` takes them.
        where: the file, for messages.
        refuse: makes the error of a reason.

    Raises:
        UsageError: the file needs a factory that is not named, or the user has named other models.
        Exception: made by `refuse`, where eetool never writes such a reference or configuration.
    """
    if is_factory(backbone):
        _check_factory(backbone, config or {}, named, where, refuse)
        return
    if len(backbone) > _MAX_NAME or not backbone.isascii() or not backbone.isprintable():
        raise refuse("the name of its model is not one that eetool writes")
    if named and backbone not in named:
        raise UsageError(f"{where} is made of {backbone}, not of {', '.join(named)}", "Leave --model out.")
    scheme, colon, name = backbone.partition(":")
    if colon and not _NAME.fullmatch(name):
        raise refuse(f"{backbone!r} is no name of a model")
    if scheme == "hf" and colon:
        hf.check_config(name, config or {}, refuse)
    elif colon and config is not None:
        raise refuse(f"{backbone} has no configuration")
    elif colon:
        libraries.check_name(scheme, name)
    else:
        _check_built_in(backbone, config, refuse)


def check_references(
    references: Sequence[tuple[str, dict[str, Any] | None]],
    named: Sequence[str],
    where: str,
    refuse: Refuse,
    among_others: bool = False,
) -> None:
    """Accept the references of all networks in a file, see `check_reference`.

    Args:
        references: backbone and configuration of each network.
        named: models that the user has named.
        where: the file, for messages.
        refuse: makes the error of a reason.
        among_others: the user may have named more models than the file needs.
    """
    several = among_others or len(references) > 1
    for backbone, config in references:
        # A named factory may be that of another network; code is called only where it is named itself.
        check_reference(backbone, config, named if is_factory(backbone) or not several else (), where, refuse)


def is_built_in(backbone: str) -> bool:
    """Return True for the networks of eetool itself: neither a library's nor the user's code."""
    return ":" not in backbone


def is_sized_by_name(backbone: str) -> bool:
    """Return True where numbers in the name or the configuration set the size, and not a list of known models."""
    return is_built_in(backbone) or backbone.startswith("hf:")


def _check_factory(backbone: str, config: dict[str, Any], named: Sequence[str], where: str, refuse: Refuse) -> None:
    try:
        wanted = parse_factory(write_factory(backbone, config))
    except UsageError:
        wanted = None
    if wanted != (backbone, config):
        raise refuse("its model is neither an architecture of eetool nor a factory that can be named")
    if any(is_factory(model) and parse_factory(model) == wanted for model in named):
        return
    written = shell_quoted(write_factory(backbone, config))
    if named:
        raise UsageError(f"{where} is made of {written}, not of {', '.join(named)}", f"--model {written} would fit.")
    raise UsageError(
        f"{where} is made of the code {written}, and a file alone does not decide what is run",
        f"Where you know and trust that code, add --model {written} (docs/security.md).",
    )


def _check_built_in(backbone: str, config: dict[str, Any] | None, refuse: Refuse) -> None:
    if not is_text(backbone):
        if config is not None:
            raise refuse(f"{backbone} has no configuration")
        return
    ids = (config or {}).get(VOCABULARY)
    if type(ids) is not int or not 0 < ids <= MAX_VOCABULARY or set(config or {}) != {VOCABULARY}:
        raise refuse(f"{backbone} has a vocabulary of 1 to {MAX_VOCABULARY} ids, and nothing else")
