"""The check of a reference that stands in a file: a file may ask for nothing that could harm.

Code of the user's own is imported only where the user names it too. Everything else is a name that eetool or a library
knows, with plain numbers and words that its configuration has.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from eetool.errors import UsageError
from eetool.model.backbones.registry import VOCABULARY, is_text
from eetool.model.references import hf, libraries
from eetool.model.references.factory_call import is_factory, parse_factory, quoted, write_factory

MAX_VOCABULARY = 1 << 22  # token ids; published vocabularies end below 300,000
_MAX_NAME = 512  # characters; the longest name that a search writes has about 300
_NAME = re.compile(r"[A-Za-z0-9_.@-]+")  # of a model in a library: no scheme, no path

Refuse = Callable[[str], Exception]


def vet(backbone: str, config: dict[str, Any] | None, named: Sequence[str], where: str, refuse: Refuse) -> None:
    """Let pass what a file may ask for, and of factories those that the user has named.

    Args:
        named: what the user has named, as `--model` takes it.
        where: the file, for messages.

    Raises:
        UsageError: the file needs a factory that is not named, or names of the user do not fit it.
        Exception: of `refuse`, where the reference or its configuration is none that eetool writes.
    """
    if is_factory(backbone):
        _vet_factory(backbone, config or {}, named, where, refuse)
        return
    if len(backbone) > _MAX_NAME or not backbone.isascii() or not backbone.isprintable():
        raise refuse("the name of its model is not one that eetool writes")
    if named and backbone not in named:
        raise UsageError(f"{where} is made of {backbone}, not of {', '.join(named)}", "Leave --model out.")
    scheme, colon, name = backbone.partition(":")
    if colon and not _NAME.fullmatch(name):
        raise refuse(f"{backbone!r} is no name of a model")
    if scheme == "hf" and colon:
        hf.vet(name, config or {}, refuse)
    elif colon and config is not None:
        raise refuse(f"{backbone} has no configuration")
    elif colon:
        libraries.vet(scheme, name)
    else:
        _vet_built_in(backbone, config, refuse)


def sized_by_name(backbone: str) -> bool:
    """Return whether numbers in the name or the configuration decide on the size, and no list of known models."""
    scheme, colon, _ = backbone.partition(":")
    return not colon or scheme == "hf"


def _vet_factory(backbone: str, config: dict[str, Any], named: Sequence[str], where: str, refuse: Refuse) -> None:
    try:
        wanted = parse_factory(write_factory(backbone, config))
    except UsageError:
        wanted = None
    if wanted != (backbone, config):
        raise refuse("its model is neither one that eetool knows nor a factory that can be named")
    if any(is_factory(model) and parse_factory(model) == wanted for model in named):
        return
    written = quoted(write_factory(backbone, config))
    if named:
        raise UsageError(f"{where} is made of {written}, not of {', '.join(named)}", f"--model {written} would fit.")
    raise UsageError(
        f"{where} is made of the code {written}, and a file alone does not decide what is run",
        f"Where you know and trust that code, add --model {written} (docs/security.md).",
    )


def _vet_built_in(backbone: str, config: dict[str, Any] | None, refuse: Refuse) -> None:
    if not is_text(backbone):
        if config is not None:
            raise refuse(f"{backbone} has no configuration")
        return
    ids = (config or {}).get(VOCABULARY)
    if type(ids) is not int or not 0 < ids <= MAX_VOCABULARY or set(config or {}) != {VOCABULARY}:
        raise refuse(f"{backbone} has a vocabulary of 1 to {MAX_VOCABULARY} ids, and nothing else")
