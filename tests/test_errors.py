"""The error tree: what the docstring draws is what there is."""

import re

import pytest

from eetool import errors


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = re.findall(r"── (\w+) +(\d)", errors.__doc__ or "")
    there = [(name, str(getattr(errors, name).exit_code)) for name in errors.__all__ if name != "EarlyExitError"]
    assert sorted(drawn) == sorted(there)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_carries_a_message_a_hint_and_one_root(name: str) -> None:
    error = getattr(errors, name)("what happened", "what to do")
    assert isinstance(error, errors.EarlyExitError)
    assert (error.message, error.hint, str(error)) == ("what happened", "what to do", "what happened")
