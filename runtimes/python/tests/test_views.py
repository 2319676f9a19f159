"""Views of one picture: every input is made from it by its own rule, and only when a component reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eetool_runtime.backends.base import ExecutionContext
from eetool_runtime.errors import InputError
from eetool_runtime.input_checker import InputChecker
from eetool_runtime.manifest import Component, Input, Preprocess, Resize
from eetool_runtime.preprocess import are_views, preprocess, preprocess_all
from eetool_runtime.views import View, made, make_lazily


def view(name: str, side: int, picture: str | None = "image") -> Input:
    rule = Preprocess(1 / 255, (0.5,), (0.25,), Resize())
    return Input(name, "float32", ("batch", 1, side, side), rule, picture=picture)


SMALL, LARGE = view("small", 4), view("large", 8)
PICTURE = np.random.default_rng(0).integers(0, 256, (10, 12, 1)).astype(np.uint8)


def test_are_views_needs_several_inputs_of_one_picture() -> None:
    assert are_views([SMALL, LARGE])
    assert not are_views([SMALL])
    assert not are_views([SMALL, view("large", 8, "other")])
    assert not are_views([view("small", 4, None), view("large", 8, None)])


def test_preprocess_all_one_picture_makes_the_first_view_only() -> None:
    inputs = preprocess_all(PICTURE, [SMALL, LARGE])
    assert np.array_equal(inputs["small"], preprocess(PICTURE, SMALL))
    later = inputs["large"]
    assert isinstance(later, View)
    assert not later.is_made
    assert np.array_equal(later.array(), preprocess(PICTURE, LARGE))
    assert later.array() is later.array()


def test_preprocess_all_files_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pytest.importorskip("PIL.Image")
    path = tmp_path / "p.png"
    images.fromarray(PICTURE[:, :, 0]).save(path)
    for raw in (path, str(path), path.read_bytes()):
        inputs = made(preprocess_all(raw, [SMALL, LARGE]))
        for spec in (SMALL, LARGE):
            assert np.array_equal(inputs[spec.name], preprocess(raw, spec))
    inputs = preprocess_all(path, [SMALL, LARGE])
    path.unlink()
    assert inputs["large"].array().shape == (1, 1, 8, 8), "the file is not opened again"


def test_preprocess_all_by_name_takes_one_picture_for_each() -> None:
    inputs = preprocess_all({"small": PICTURE, "large": PICTURE[:5]}, [SMALL, LARGE])
    assert np.array_equal(inputs["large"], preprocess(PICTURE[:5], LARGE))


def test_preprocess_all_inputs_of_their_own_need_names() -> None:
    with pytest.raises(InputError, match="2 inputs"):
        preprocess_all(PICTURE, [view("small", 4, None), view("large", 8, None)])


@pytest.mark.parametrize(
    "raw", [PICTURE.astype(np.float32), np.zeros((0, 4, 1), np.uint8), np.zeros((4, 4, 5), np.uint8)]
)
def test_preprocess_all_invalid_picture_is_refused_at_once(raw: np.ndarray) -> None:
    with pytest.raises(InputError, match="small"):
        preprocess_all(raw, [SMALL, LARGE])


def test_input_checker_keeps_views_and_checks_the_rest() -> None:
    checker = InputChecker([SMALL, LARGE])
    inputs = preprocess_all(PICTURE, [SMALL, LARGE])
    accepted = checker.accept(inputs)
    assert isinstance(accepted["large"], View)
    assert not accepted["large"].is_made
    assert isinstance(checker.check(inputs, any_batch=True)["large"], np.ndarray), "a batch needs arrays"
    with pytest.raises(InputError, match="NaN"):
        checker.accept({**inputs, "small": np.full((1, 1, 4, 4), np.nan, np.float32)})
    with pytest.raises(InputError, match="expected inputs"):
        checker.accept({"large": inputs["large"]})
    other = View(view("large", 6), lambda: np.zeros((1, 1, 6, 6), np.float32))
    with pytest.raises(InputError, match="another model"):
        checker.accept({**inputs, "large": other})


def test_make_lazily_view_is_made_before_its_first_reader() -> None:
    components = tuple(
        Component(name, "exit", inputs, (f"{name}_out",), 0, 0)
        for name, inputs in (("a", ("small",)), ("b", ("a_out",)), ("c", ("large", "a_out")), ("d", ("large",)))
    )
    events: list[str] = []
    context = ExecutionContext(
        lambda name: np.zeros(0), [lambda c=c: events.append(c.name) for c in components], lambda x: events.extend(x)
    )
    inputs = preprocess_all(PICTURE, [SMALL, LARGE])
    lazily = make_lazily(context, inputs, components)
    lazily.calls[0]()
    lazily.calls[1]()
    assert events == ["small", "a", "b"]
    assert not inputs["large"].is_made
    lazily.calls[2]()
    lazily.calls[3]()
    assert events == ["small", "a", "b", "large", "c", "d"]
