"""Rules for names and texts that end up in a bundle.

They are checked when data are loaded and models are built, so that an export after a long training does not fail.
"""

import json
from collections.abc import Iterable

from eetool_runtime.manifest import MAX_MANIFEST_BYTES
from eetool_runtime.manifest_checks import NAME_RULE, TEXT_RULE, is_name, is_text

_OVERHEAD_BYTES = 14  # per word in a manifest: indentation, quotes, comma, line end
# Everything else in a manifest needs a few dozen kibibytes.
MAX_WORDS_BYTES = MAX_MANIFEST_BYTES // 8 * 7  # class names and vocabulary together
MAX_VOCABULARY_BYTES = MAX_MANIFEST_BYTES // 2
_MAX_SHOWN = 60  # characters


def find_unfit(texts: Iterable[str], names: Iterable[str]) -> str | None:
    """Return why a bundle cannot hold one of a model's texts or names, or None where it can hold all of them."""
    for text in texts:
        if not is_text(text):
            return f"{quote(text)} is no label, tap, word or name of data that a bundle can hold ({TEXT_RULE})"
    for name in names:
        if not is_name(name):
            return f"{quote(name)} is no name of an input or a policy that a bundle can hold ({NAME_RULE})"
    return None


def select_words(words: Iterable[str]) -> tuple[str, ...]:
    """Return the first of `words` that a bundle can hold together, without the words that it cannot hold at all."""
    kept, total_bytes = [], 0
    for word in filter(is_text, words):
        total_bytes += word_bytes(word)
        if total_bytes > MAX_VOCABULARY_BYTES:
            break
        kept.append(word)
    return tuple(kept)


def word_bytes(word: str) -> int:
    """Return the number of bytes that `word` takes in a manifest."""
    return len(json.dumps(word, ensure_ascii=False).encode("utf-8", "surrogatepass")) + _OVERHEAD_BYTES


def quote(name: str) -> str:
    """Return `name` in quotes for a message: control characters escaped, and cut to the length of a line."""
    return repr(name) if len(name) <= _MAX_SHOWN else repr(name[:_MAX_SHOWN]) + f"… ({len(name)} characters)"
