"""Seeded damage to the values and bytes of JSON documents, for fuzzers."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -0.0, 1, -1, 2, 0.5, 2.0, 1e-7, 1e6, 1e300, -1e300, 5e-324, 1 << 31, 1 << 62, -(1 << 62)),
    *("", "a", "1.0", "1.1", "2.0", "01.0", "batch", "float32", "int64", "segment", "exit", "joined", "fp32", "int8"),
    *("../x", "/x", "a/../b", "a\\b", "a\x00b", "\x1b[2J", "\ud800", "\u202e", "é", "x" * 300, "onnx/fp32", "0" * 64),
    *([], {}, [[]], [None], {"": 0}, {"\ud800": 0}, [0.0] * 9, ["batch"]),
)
_TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"\xef\xbb\xbf"),
    *(b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 30, b"0x1", b"null", b"true", b"[" * 5000, b'{"a":' * 5000),
)


def damaged(pick: random.Random, texts: list[bytes], values: tuple[Any, ...] = VALUES) -> bytes:
    """Return one of `texts` with one to four random changes of values, of bytes, or of both."""
    text = pick.choice(texts)
    kind = pick.random()
    if kind < 0.7:
        document = json.loads(text)
        for _ in range(pick.choice((1, 1, 1, 2, 3, 4))):
            _damage_value(pick, document, values)
        text = json.dumps(document, ensure_ascii=pick.random() < 0.5).encode("utf-8", "surrogatepass")
    if kind > 0.6:
        for _ in range(pick.choice((1, 1, 1, 2, 3, 4))):
            text = _damage_bytes(pick, text, texts)
    return text


def _damage_value(pick: random.Random, document: Any, values: tuple[Any, ...]) -> None:
    """Change the value at a random place of the document."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = pick.choice(keys)
        if not isinstance(document[key], (dict, list)) or pick.random() < 0.15:
            break
        document = document[key]
    action = pick.random()
    if action < 0.4:
        document[key] = copy.deepcopy(pick.choice(values))  # a later damage may change it
    elif action < 0.6:
        document[key] = _nearby(pick, document[key])
    elif action < 0.75:
        document[key], document[keys[0]] = document[keys[0]], document[key]
    elif action < 0.9:
        del document[key]
    elif isinstance(document, dict):
        document[str(pick.choice(values))] = document[key]
    else:
        document.append(document[key])


def _nearby(pick: random.Random, value: Any) -> Any:
    """Return a value of the same type that may still be valid, so that later rules are reached."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + pick.choice((-1, 1, 1000))
    if isinstance(value, float):
        return value * pick.choice((-1.0, 0.5, 2.0)) + pick.choice((0.0, 1e-9, 1.0))
    if isinstance(value, str):
        place = pick.randint(0, len(value))
        return value[:place] + pick.choice(("", "0", "x", "/", "é")) + value[place + pick.randint(0, 1) :]
    return value


def _damage_bytes(pick: random.Random, text: bytes, texts: list[bytes]) -> bytes:
    start = pick.randint(0, len(text))
    stop = min(len(text), start + pick.randint(0, 40))
    new: Callable[[], bytes] = pick.choice(
        (
            lambda: b"",
            lambda: pick.choice(_TOKENS),
            lambda: pick.randbytes(pick.randint(1, 8)),
            lambda: text[start:stop] * 2,
            lambda: pick.choice(texts)[start : start + pick.randint(0, 200)],
        )
    )
    changed = text[:start] + new() + text[stop:]
    return changed[: pick.randint(0, len(changed))] if pick.random() < 0.05 else changed
