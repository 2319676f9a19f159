"""Errors in the words of a Python caller: keyword arguments in place of options of the command line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from eetool.errors import EarlyExitError

_OPTION = re.compile(r"(?<![\w-])(?:--([a-z][a-z0-9-]*)|-o(?![\w-]))(?:[ =]([\w.,:/+-]*[\w/]))?")
_COMMAND = re.compile(r"(`[^`]*`)")
# Arguments that are not called as their options are.
_KEYWORDS = {
    "tap-layout": "layout",
    "model": "reference",
    "input": "example",
    "mixed-precision": "precision",
    "format": "formats",
    "precision": "precisions",
    "normalise": "normalise",
}
_SWITCHES = {
    "accept-unstable",
    "cascade",
    "ensemble",
    "force",
    "gradient-scaling",
    "judge-speed",
    "new-classifier",
    "ramp",
    "reference",
    "resume",
    "simplify",
}
# Whole phrases: a Python traceback shows what an option prints.
_PHRASES = {"--verbose prints its traceback": "its traceback is above"}
# Words after an option that are its value and not the next word of the sentence.
_CHOICES = {
    "own",
    "joint",
    "frozen",
    "confidence",
    "distill",
    "cpu",
    "cuda",
    "mps",
    "fp32",
    "bf16",
    "fp16",
    "int8",
    "train",
    "test",
    "segments",
    "single",
    "none",
    "auto",
    "all",
    "onnx",
    "tflite",
    "labels",
    "backbone",
    "temperature",
    "platt",
    "sgd",
    "adamw",
    "imagenet",
}


@contextmanager
def python_errors() -> Iterator[None]:
    """Let errors of eetool inside the block name keyword arguments, and show the hint in the traceback."""
    try:
        yield
    except EarlyExitError as error:
        error.message = in_python(error.message)
        error.args = (error.message,)
        if error.hint is not None:
            error.hint = in_python(error.hint)
            if error.hint not in getattr(error, "__notes__", ()):
                error.add_note(error.hint)
        raise


def in_python(text: str) -> str:
    """Return a message with keyword arguments for options: `--recipe distill` becomes `recipe="distill"`.

    Commands in backquotes stay as they are.
    """
    for phrase, other in _PHRASES.items():
        text = text.replace(phrase, other)
    parts = _COMMAND.split(text)
    return "".join(part if part.startswith("`") else _OPTION.sub(_keyword, part) for part in parts)


def _keyword(match: re.Match[str]) -> str:
    option, value = match.groups()
    if option is None:
        return match[0].replace("-o", "output", 1)
    switch = option.removeprefix("no-")
    if switch in _SWITCHES:
        rest = "" if value is None else match[0][match[0].index(value) - 1 :]
        return f"{_name(switch)}={switch == option}{rest}"
    if value is None:
        return _name(option)
    if value.isupper() or value.replace(".", "", 1).isdecimal():
        return f"{_name(option)}={value}"
    if value in _CHOICES or re.search(r"[.,:/]|\d", value):
        return f'{_name(option)}="{value}"'
    return f"{_name(option)} {value}"


def _name(option: str) -> str:
    return _KEYWORDS.get(option, option.replace("-", "_"))
