"""Names of C for the names of a bundle."""

import re

# Words of C and C++ that a model's name could be, and names that the source uses itself.
_WORDS = "auto bool case char class default double else enum float for if int long main new short std tflite void"
_RESERVED = frozenset(_WORDS.split())


def identifier(name: str) -> str:
    """Return a name as an identifier of C in small letters."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return f"model_{plain}" if not plain or plain[0].isdigit() or plain in _RESERVED else plain


def constant(name: str) -> str:
    """Return a name as that of a constant of C++: `kSeg0` for `seg0`."""
    return "k" + "".join(word.capitalize() for word in identifier(name).split("_"))


def adding_method(op: str) -> str:
    """Return the method of TFLM's resolver that adds an operator: `AddConv2D` for `CONV_2D`."""
    words = _IRREGULAR.get(op) or "".join(word.capitalize() for word in op.split("_"))
    return "Add" + re.sub(r"2d$", "2D", words)


_IRREGULAR = {"BATCH_MATMUL": "BatchMatMul", "PADV2": "PadV2"}
