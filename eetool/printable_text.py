"""Text that is safe to show: characters that terminals, browsers or SVG files interpret or reject become escapes."""

import json
import re
from typing import Any

# Control characters except tab and newline; marks that reverse or break lines; lone surrogates; noncharacters.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


def visible(text: str) -> str:
    r"""Return `text` with every invisible or control character as an escape such as \x1b."""
    return _INVISIBLE.sub(lambda match: escape(match[0]), text)


def visible_in(value: Any) -> Any:
    """Return parsed JSON with every string and key made visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [visible_in(item) for item in value]
    if isinstance(value, dict):
        return {visible(key): visible_in(item) for key, item in value.items()}
    return value


def escape(character: str) -> str:
    r"""Return the Python escape of one character: \xNN, \uNNNN or \UNNNNNNNN."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible_json(text: str) -> str:
    """Return JSON text with invisible or control characters as JSON escapes; the values stay the same."""
    return _INVISIBLE.sub(lambda match: json.dumps(match[0])[1:-1], text)
