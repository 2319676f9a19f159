"""The error tree: the docstring and the classes agree."""

import re

import pytest

from eetool import errors


def test_errors_docstring_tree_equals_classes() -> None:
    drawn = re.findall(r"── (\w+) +(\d)", errors.__doc__ or "")
    defined = [(name, str(getattr(errors, name).exit_code)) for name in errors.__all__ if name != "EarlyExitError"]
    assert sorted(drawn) == sorted(defined)


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_every_class_has_message_hint_and_root(name: str) -> None:
    error = getattr(errors, name)("what happened", "what to do")
    assert isinstance(error, errors.EarlyExitError)
    assert (error.message, error.hint, str(error)) == ("what happened", "what to do", "what happened")
