"""Random damage to a valid manifest: it is parsed or refused."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eetool_runtime.errors import BundleError
from eetool_runtime.manifest_parser import parse_manifest
from tests.attacks import fuzz_manifest
from tests.helpers.tiny_bundle import write_tiny_bundle

with tempfile.TemporaryDirectory() as _folder:
    TEXT = (write_tiny_bundle(Path(_folder)) / "manifest.json").read_bytes()

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
)


def parses_or_is_refused(data: bytes) -> None:
    output = ""
    try:
        parse_manifest(data)
    except BundleError as refused:
        output = refused.message
    assert not output or output.isprintable()


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_parse_manifest_any_bytes_parses_or_refuses(data: bytes) -> None:
    parses_or_is_refused(data)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_parse_manifest_damaged_bytes_parses_or_refuses(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(TEXT)))
    stop = data.draw(st.integers(start, min(len(TEXT), start + 40)))
    parses_or_is_refused(TEXT[:start] + data.draw(st.binary(max_size=20)) + TEXT[stop:])


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_parse_manifest_damaged_values_parses_or_refuses(data: st.DataObject) -> None:
    document: Any = json.loads(TEXT)
    for _ in range(data.draw(st.integers(1, 3))):
        replace_somewhere(document, data)
    parses_or_is_refused(json.dumps(document).encode("utf-8", "surrogatepass"))


def replace_somewhere(document: Any, data: st.DataObject) -> None:
    """Replace or remove the value at a random place."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(document[key], (dict, list)) and data.draw(st.integers(0, 3)) > 0
        if not deeper:
            break
        document = document[key]
    if data.draw(st.booleans()):
        document[key] = data.draw(values)
    else:
        del document[key]


@pytest.mark.parametrize("size", range(0, len(TEXT), 97))
def test_parse_manifest_truncated_is_refused(size: int) -> None:
    with pytest.raises(BundleError):
        parse_manifest(TEXT[:size])


def test_fuzz_manifest_short_run_finds_nothing() -> None:
    document = fuzz_manifest.fuzz(runs=2000, seed=1)
    assert document["uncaught"] == []
    assert document["runs"] == document["parsed"] + document["refused"] == 2000
    assert document["parsed"] > 100  # it does not only make rubbish,
    assert document["refused_at_places"] > 40  # and it comes to most of the rules


def test_fuzz_manifest_careless_parser_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(data: bytes) -> Any:
        return json.loads(data)

    monkeypatch.setattr(fuzz_manifest, "parse_manifest", careless)
    document = fuzz_manifest.fuzz(runs=200, seed=1)
    assert {"error", "where", "input"} == set(document["uncaught"][0])
    assert any(item["error"].startswith("JSONDecodeError") for item in document["uncaught"])
    assert fuzz_manifest.fuzz(runs=200, seed=1) == document
