"""Names that come with data and networks, by the rule of a bundle, so that none is refused after a training."""

import json
from collections.abc import Iterable

from eetool.errors import ArtefactError
from eetool_runtime.manifest import MAX_MANIFEST_BYTES, NAME_RULE, TEXT_RULE, is_name, is_text

_INDENT_BYTES = 14  # what a word takes beside itself in a manifest: its place, quotes, comma, line end
# All else in a manifest needs a few dozen kibibytes.
_MOST_BYTES = MAX_MANIFEST_BYTES // 8 * 7
MOST_WORD_BYTES = MAX_MANIFEST_BYTES // 2  # of a vocabulary


def check_names(source: str, classes: tuple[str, ...], vocabulary: tuple[str, ...]) -> None:
    """Raise ArtefactError where a bundle could not hold the name of the data, a class or a word, or all of them."""
    if not is_text(source):
        raise ArtefactError(
            f"the name of the data, {shown(source)}, fits no bundle", f"Rename the file or folder: {TEXT_RULE}."
        )
    for number, name in enumerate(classes):
        if not is_text(name):
            raise ArtefactError(
                f"{source}: the name of class {number}, {shown(name)}, fits no bundle",
                f"Rename the class: {TEXT_RULE}.",
            )
    if sum(map(word_bytes, (*classes, *vocabulary))) > _MOST_BYTES:
        raise ArtefactError(
            f"{source}: the names of {len(classes)} classes are longer than a bundle can hold",
            f"All together may take {_MOST_BYTES} bytes: shorten them.",
        )


def unfit(texts: Iterable[str], names: Iterable[str]) -> str | None:
    """Return what is wrong where a bundle could not hold one of a model's texts or names, else None."""
    for text in texts:
        if not is_text(text):
            return f"{shown(text)} is no label, tap, word or name of data that a bundle can hold ({TEXT_RULE})"
    for name in names:
        if not is_name(name):
            return f"{shown(name)} is no name of an input or a policy that a bundle can hold ({NAME_RULE})"
    return None


def fitting(words: Iterable[str]) -> tuple[str, ...]:
    """Return the first of `words` that a bundle can hold together; those that it can not hold are left out."""
    kept, spent = [], 0
    for word in filter(is_text, words):
        spent += word_bytes(word)
        if spent > MOST_WORD_BYTES:
            break
        kept.append(word)
    return tuple(kept)


def word_bytes(word: str) -> int:
    """Return how many bytes `word` takes in a manifest."""
    return len(json.dumps(word, ensure_ascii=False).encode("utf-8", "surrogatepass")) + _INDENT_BYTES


def shown(name: str) -> str:
    """Return `name` in quotes, with escapes for what no terminal should obey, and no longer than a line."""
    return repr(name) if len(name) <= 60 else repr(name[:60]) + f"… ({len(name)} characters)"
