"""`tune --stream`, `export` and `bench --stream` on sequences, and options that need them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner, Result

from eetool.cli.app import cli
from eetool_runtime import load, open_bundle
from tests.helpers.frame_streams import stream_source

ROOT = Path(__file__).parents[2]


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def schema(name: str) -> Any:
    return json.loads((ROOT / f"eetool/schemas/{name}.schema.json").read_text())


def save(path: Path, groups: int = 8) -> None:
    source = stream_source(groups)
    assert source.order is not None
    names = {"sequence": source.order.sequence, "group": source.order.group}
    np.savez(path, features=source.inputs, labels=source.labels, period_s=source.order.period_s, **names)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    save(folder / "s.npz")
    model = folder / "m.pt"
    data = f"npz:{folder / 's.npz'}"
    result = run("train", "mlp-16x2", "--data", data, "--exits", 1, "--epochs", 2, "--threads", 1, "-o", model)
    assert result.exit_code == 0, result.output
    return model


@pytest.fixture(scope="module")
def bundle(trained: Path) -> Path:
    tuned, output = trained.with_name("tuned.pt"), trained.with_name("m.eebundle")
    data = f"npz:{trained.with_name('s.npz')}"
    result = run("tune", trained, "--data", data, "--stream", "--max-reaction-s", 8, "-o", tuned, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    jsonschema.validate(document, schema("tune-1"))
    assert set(document["stream"]["points"]) == {"stream-full", "stream-balanced", "stream-fast"}
    assert run("export", tuned, "-o", output).exit_code == 0
    return output


def test_export_writes_points_for_streams_that_the_runtime_reads(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    assert manifest.schema_version == "1.1"
    assert manifest.stream is not None
    assert manifest.stream.period_s == 0.5
    answer = load(bundle).stream("stream-fast")(np.zeros((1, 3), np.float32))
    assert answer.label in manifest.labels


def test_bench_stream_compares_all_ways_in_order(bundle: Path) -> None:
    data = f"npz:{bundle.with_name('s.npz')}"
    result = run("bench", bundle, "--data", data, "--stream", "--passes", 2, "--accept-unstable", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    jsonschema.validate(document, schema("stream_bench-1"))
    kinds = {way["name"]: way["kind"] for way in document["ways"]}
    assert kinds["full depth"] == kinds["stream-full"] == "full_depth"
    assert kinds["stream-fast"] == "stream"
    assert {name for name, kind in kinds.items() if kind == "rival"} == {
        *("gates per frame", "moving average", "difference detection")
    }
    assert document["max_reaction_s"] == 8
    assert document["changes"] > 0


def test_tune_of_a_bundle_keeps_the_goal_of_its_streams(bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "again.eebundle"
    data = f"npz:{bundle.with_name('s.npz')}"
    result = run("tune", bundle, "--data", data, "--max-accuracy-drop", 2, "-o", output, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["stream"] is not None
    assert open_bundle(output).manifest.stream is not None


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("Give --stream as well", ["--max-reaction-s", "3"]),
        ("has no recordings to cut", ["--stream", "--window", "2", "--step", "1"]),
    ],
)
def test_tune_options_of_streams_that_do_not_fit_are_usage_errors(
    trained: Path, words: str, options: list[str]
) -> None:
    result = run("tune", trained, "--data", f"npz:{trained.with_name('s.npz')}", *options)
    assert result.exit_code == 2
    assert words in result.output


def test_tune_stream_with_one_group_is_refused(tmp_path: Path) -> None:
    source = stream_source(1, 400)
    assert source.order is not None
    names = {"sequence": source.order.sequence, "group": source.order.group}
    np.savez(tmp_path / "one.npz", features=source.inputs, labels=source.labels, period_s=0.5, **names)
    data, model = f"npz:{tmp_path / 'one.npz'}", tmp_path / "m.pt"
    trained = run("train", "mlp-8x2", "--data", data, "--exits", 1, "--epochs", 0, "--threads", 1, "-o", model)
    assert trained.exit_code == 0, trained.output
    result = run("tune", model, "--data", data, "--stream")
    assert result.exit_code == 2
    assert "too few to leave whole ones out" in result.output


def test_bench_stream_of_a_bundle_without_points_is_refused(trained: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.eebundle"
    assert run("export", trained, "-o", plain).exit_code == 0
    result = run("bench", plain, "--data", f"npz:{trained.with_name('s.npz')}", "--stream")
    assert result.exit_code == 2
    assert "no operating points for streams" in result.output
