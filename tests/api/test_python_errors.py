"""Errors of the API name keyword arguments, and show their hint in a traceback."""

import traceback

import pytest

from eetool.api.python_errors import in_python, python_errors
from eetool.errors import OutputError


@pytest.mark.parametrize(
    ("option", "keyword"),
    [
        ("Give --exits N to attach some.", "Give exits=N to attach some."),
        ("Give --recipe joint or distill.", 'Give recipe="joint" or distill.'),
        (
            "Give --force to replace it, or -o NAME.",
            "Give force=True to replace it, or output NAME.",
        ),
        ("Leave --at, --branch and --tap-layout out.", "Leave at, branch and layout out."),
        ("Such as --weights-key model_ema.", "Such as weights_key model_ema."),
        (
            "`eetool table build -o my.json` makes; --device NAME",
            "`eetool table build -o my.json` makes; device=NAME",
        ),
        ("--no-judge-speed keeps all", "judge_speed=False keeps all"),
        ("Give --mixed-precision bf16.", 'Give precision="bf16".'),
        ("--weights a/model.pt.resume begins there", 'weights="a/model.pt.resume" begins there'),
        ("--certify 0.95 without the split", "certify=0.95 without the split"),
        ("a state-of-the-art x -o-", "a state-of-the-art x -o-"),
    ],
)
def test_in_python_options_become_keywords(option: str, keyword: str) -> None:
    assert in_python(option) == keyword


def test_python_errors_keep_class_and_show_the_hint() -> None:
    with pytest.raises(OutputError, match="force=True") as caught, python_errors(), python_errors():
        raise OutputError("--force was not given", "Give --force.")
    assert caught.value.hint == "Give force=True."
    assert "".join(traceback.format_exception(caught.value)).count("Give force=True.") == 1
