"""Report: its page for known documents, its charts, and documents that it refuses."""

import dataclasses
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.data.source import Source
from eetool.errors import OutputError
from eetool.report import thumbnails
from eetool.report.chart import Chart
from eetool.report.chart_files import write_charts
from eetool.report.formatting import measured_text, verdict_texts
from eetool.report.inputs import ReportInputs, SearchSummary, read_report_inputs
from eetool.report.model_charts import model_charts
from eetool.report.next_steps import next_steps
from eetool.report.operating_points import initial_point, matching_profile, report_points, slider_points
from eetool.report.search_charts import search_charts
from eetool.report.sections import comparison_rows, predictions
from eetool.report.time_breakdown import RUNTIME, time_rows
from eetool_runtime.manifest import Text
from eetool_runtime.records import decode
from tests.helpers.tiny_bundle import write_tiny_bundle

GOLDEN = Path(__file__).parents[1] / "golden"


class Words(HTMLParser):
    """The words of a page in order, and every address that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.loads: list[str] = []
        self._quiet = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._quiet += tag in ("script", "style", "title")
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._quiet -= tag in ("script", "style", "title")

    def handle_data(self, data: str) -> None:
        if not self._quiet and data.strip():
            self.words.append(data.strip())


@pytest.fixture
def inputs() -> ReportInputs:
    """A document of an earlier version, whose points become ways."""
    return read_report_inputs([GOLDEN / "bench-1.json", GOLDEN / "profile-1.json"])


HEADLINES = {True: "Early exit pays", False: "Early exit does not pay", None: "Cannot tell whether early exit pays"}


def test_page_begins_with_verdict(reported: Any) -> None:
    verdict = json.loads(reported.bench.read_text())["verdict"]
    words = Words(reported.page.read_text()).words
    assert words[0] == HEADLINES[verdict["pays"]]
    assert verdict["text"].casefold().endswith(words[1].casefold())


def test_page_is_self_contained(reported: Any) -> None:
    loads = Words(reported.page.read_text()).loads
    assert loads
    assert all(load.startswith("data:") for load in loads)
    assert reported.document["size_bytes"] == reported.page.stat().st_size


def test_page_shows_figures_of_documents(reported: Any) -> None:
    bench = json.loads(reported.bench.read_text())
    shown = " ".join(Words(reported.page.read_text()).words)
    for point in bench["ways"]:
        assert point["name"] in shown
        assert f"{100 * point['accuracy']:.2f} %" in shown
        assert f"{point['latency_ms']['mean']:#.3g} ms" in shown
    assert "estimated, whole board" in shown
    assert "rpi4, onnx/fp32, 1 thread" in shown
    assert bench["data"]["sha256"][:12] in shown
    for example in bench["exits"][0]["easiest"]:
        assert f"#{example['index']}" in shown
    images = re.findall(r'<img src="data:image/png;base64,', reported.page.read_text())
    assert len(images) == sum(len(e["easiest"]) + len(e["hardest"]) for e in bench["exits"])


def test_charts_every_axis_has_unit(reported: Any) -> None:
    made = read_report_inputs(reported.documents)
    points = report_points(made)
    charts = model_charts(made, points, initial_point(made, slider_points(made, points)))
    assert {"front-latency", "front-energy", "exit-shares", "class-shares", "reliability-0", "time"} <= {
        chart.name for chart in charts
    }
    for chart in charts:
        titles = [e["title"] for e in _encodings(chart.spec) if e.get("type") == "quantitative" and e.get("title")]
        assert titles, chart.name
        assert all(re.search(r"\((%|ms|mJ|million)\)$", title) for title in titles), titles


def _encodings(value: Any) -> Iterator[dict[str, Any]]:
    """Encodings of x and y anywhere in a specification."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("x", "y") and isinstance(inner, dict):
                yield inner
            yield from _encodings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _encodings(inner)


def test_report_figures_option_writes_svg_and_png(reported: Any) -> None:
    names = {path.name for path in reported.figures.iterdir()}
    assert names == {f"{name}{suffix}" for name in reported.document["charts"] for suffix in (".svg", ".png")}
    assert (reported.figures / "front-latency.png").read_bytes().startswith(b"\x89PNG")
    drawing = (reported.figures / "front-latency.svg").read_text()
    assert "currentColor" not in drawing
    assert "mean latency (ms)" in drawing
    assert "unsplit" in drawing


def test_write_charts_existing_file_raises_output_error(tmp_path: Path) -> None:
    charts = [Chart("front-latency", "", "", "", {"mark": "point", "data": {"values": []}})]
    (tmp_path / "front-latency.png").write_text("old")
    with pytest.raises(OutputError, match=r"front-latency\.png exists already"):
        write_charts(charts, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["front-latency.png"]
    write_charts(charts, tmp_path, force=True)
    assert (tmp_path / "front-latency.png").read_bytes().startswith(b"\x89PNG")


def test_slider_points_are_sorted_by_falling_cost(inputs: ReportInputs) -> None:
    positions = slider_points(inputs, report_points(inputs))
    assert [s.name for s in positions] == ["full", "balanced", "fast"]
    assert initial_point(inputs, positions) == "balanced"


def test_report_points_energy_is_weighted_by_exit_shares(inputs: ReportInputs) -> None:
    assert inputs.profile is not None
    assert inputs.bench is not None
    energy = inputs.profile.energy
    assert energy is not None
    # The golden profile chose 2 threads and the golden bench had 1: their figures are not combined.
    assert {s.energy_mj.value for s in report_points(inputs)} == {None}
    inputs.bench = dataclasses.replace(inputs.bench, threads=2)
    points = {s.name: s for s in report_points(inputs)}
    shares = points["fast"].exit_shares or ()
    by_exit = [e.value or 0.0 for e in energy.cascade]
    assert points["fast"].energy_mj.value == pytest.approx(sum(s * e for s, e in zip(shares, by_exit, strict=True)))
    assert points["full"].energy_mj.value == energy.full.value
    assert points["unsplit"].energy_mj.value == energy.references["unsplit"].value
    assert points["resnet8.onnx"].energy_mj.value is None
    assert points["fast"].energy_mj.scope == "board_gross"


def test_time_rows_add_up_to_mean_latency(inputs: ReportInputs) -> None:
    points = report_points(inputs)
    rows = time_rows(inputs, points)
    assert inputs.profile is not None
    times = next(t for t in inputs.profile.thread_counts if t.threads == 1)
    for s in (s for s in points if s.exit_shares is not None):
        mean = sum(row.mean_ms for row in rows if row.point == s.name)
        by_exit = sum(
            share * at.latency_ms.median for share, at in zip(s.exit_shares or (), times.cascade, strict=True)
        )
        assert mean == pytest.approx(times.full.median if s.name == "full" else by_exit)
    full = {row.part: row.mean_ms for row in rows if row.point == "full"}
    assert full["exit0"] == full["exit1"] == 0
    assert full["seg0"] == times.components[0].latency_ms.median
    assert full[RUNTIME] > 0


def test_matching_profile_other_variant_returns_none(inputs: ReportInputs) -> None:
    assert inputs.profile is not None
    assert matching_profile(inputs) is inputs.profile
    inputs.profile = dataclasses.replace(inputs.profile, variant="onnx/int8")
    assert matching_profile(inputs) is None
    assert time_rows(inputs, report_points(inputs)) == []


def test_report_points_of_several_variants_keep_their_own_profile() -> None:
    """The golden bench judges int8: its operating points are on the slider, and a profile of fp32 is of other rows."""
    inputs = read_report_inputs([GOLDEN / "bench-2.json", GOLDEN / "profile-1.json"])
    assert inputs.bench is not None
    assert inputs.profile is not None
    inputs.profile = dataclasses.replace(inputs.profile, bundle=dataclasses.replace(inputs.profile.bundle, name="both"))
    points = report_points(inputs)
    positions = slider_points(inputs, points)
    assert {s.variant for s in positions} == {inputs.bench.judged_variant} == {"onnx/int8"}
    assert initial_point(inputs, positions) == inputs.bench.verdict.way
    assert time_rows(inputs, points) == []
    inputs.profile = dataclasses.replace(inputs.profile, variant="onnx/int8")
    rows = time_rows(inputs, points)
    assert {row.point for row in rows} == {s.name for s in positions}
    fronts = [mark for *_, mark in comparison_rows(points, inputs)]
    assert set(fronts) == {"yes", "no", "perhaps"}


def test_report_bundle_alone_shows_expected_figures(cli: Any, reported: Any, tmp_path: Path) -> None:
    answered = cli("report", reported.bundle, "-o", tmp_path / "r.html", "--json")
    assert answered.code == 0, answered
    assert answered.document["charts"] == ["front-macs", "exit-shares"]
    words = Words((tmp_path / "r.html").read_text()).words
    assert words[0] == "No verdict yet"
    assert "no latency was measured" in " ".join(words)


def test_report_advice_alone_begins_with_its_verdict(cli: Any, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    answered = cli("report", GOLDEN / "advise-1.json", "-o", tmp_path / "r.html")
    assert answered.code == 0, answered
    words = Words((tmp_path / "r.html").read_text()).words
    verdict = json.loads((GOLDEN / "advise-1.json").read_text())["verdict"]["text"]
    assert words[0] == verdict.partition(":")[0]
    assert {"Forecast before the training", "balanced", "unsplit, int8"} <= set(words)


def refused(cli: Any, code: int, words: str, *arguments: object) -> None:
    answered = cli("report", *arguments)
    assert (answered.code, words in answered.stderr) == (code, True), answered


def test_report_invalid_documents_are_refused(cli: Any, tmp_path: Path) -> None:
    bench, page_ = GOLDEN / "bench-1.json", tmp_path / "r.html"
    refused(cli, 2, "is a second bench, and a report shows one", bench, bench, "-o", page_)
    refused(cli, 3, "does not exist", tmp_path / "absent.json", "-o", page_)
    refused(cli, 3, "is a hw profile; report takes documents", GOLDEN / "hw_profile-1.json", "-o", page_)
    failed = tmp_path / "failed.json"
    failed.write_text('{"eetool": "0", "command": "bench", "ok": false, "error": {}}')
    refused(cli, 3, "is the output of a command that failed", failed, "-o", page_)
    (tmp_path / "list.json").write_text("[]")
    refused(cli, 3, "does not show documents of schema None", tmp_path / "list.json", "-o", page_)
    refused(cli, 2, "--data shows the examples that a bench names", GOLDEN / "profile-1.json", "--data", "digits")
    page_.write_text("mine")
    refused(cli, 2, "exists already", bench, "-o", page_)
    assert page_.read_text() == "mine"


def test_report_data_option_shows_pictures_of_benchmark_examples(cli: Any, reported: Any, tmp_path: Path) -> None:
    document = json.loads(reported.bench.read_text())
    document["exits"][0]["easiest"][0]["label"] = (document["exits"][0]["easiest"][0]["label"] + 1) % 10
    other = tmp_path / "bench.json"
    other.write_text(json.dumps(document))
    refused(cli, 3, "is not the one of the benchmark", other, "--data", "digits", "-o", tmp_path / "r.html")
    document["data"]["source"] = "cifar10"
    other.write_text(json.dumps(document))
    refused(
        cli, 3, "the benchmark is of 'cifar10', not of 'digits'", other, "--data", "digits", "-o", tmp_path / "r.html"
    )


def test_report_missing_library_names_extra(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    answered = cli("report", GOLDEN / "bench-1.json", "-o", tmp_path / "r.html")
    assert answered.code == 5
    assert 'pip install "eetool[report]"' in answered.stderr
    assert not list(tmp_path.iterdir())


def test_report_train_and_tune_documents_are_shown(cli: Any, tuned: Path, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    model = shutil.copy(tuned, tmp_path / "model.pt")
    answered = cli("tune", model, "--data", "digits", "--max-accuracy-drop", 4, "--force", "--json")
    (tmp_path / "tune.json").write_text(answered.stdout)
    answered = cli("train", "resnet8", "--data", "digits", "--epochs", 0, "-o", tmp_path / "new.pt", "--json")
    assert answered.code == 0, answered
    (tmp_path / "train.json").write_text(answered.stdout)
    answered = cli("report", tmp_path / "tune.json", tmp_path / "train.json", "-o", tmp_path / "r.html")
    assert answered.code == 0, answered
    words = " ".join(Words((tmp_path / "r.html").read_text()).words)
    assert "MACs to leave" in words
    assert "balanced" in words


def test_report_search_document_shows_front_and_history(cli: Any, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    document = json.loads((GOLDEN / "search-1.json").read_text())
    answered = cli("report", GOLDEN / "search-1.json", "-o", tmp_path / "front.html", "--json")
    assert answered.code == 0, answered
    assert answered.document["charts"] == ["search-front", "search-history"]
    words = " ".join(Words((tmp_path / "front.html").read_text()).words)
    assert f"{len(document['front'])} operating points of {document['evaluated']} candidates" in words
    assert "Costs are predicted for rpi4." in words
    del document["history"]  # an early document
    (tmp_path / "early.json").write_text(json.dumps(document))
    answered = cli("report", tmp_path / "early.json", "-o", tmp_path / "early.html", "--json")
    assert answered.document["charts"] == ["search-front"]


def test_search_charts_show_front_among_all_candidates() -> None:
    document = json.loads((GOLDEN / "search-1.json").read_text())
    document["history"][1]["feasible"] = False
    search = decode(SearchSummary, document, AssertionError, ignore_unknown=True)
    front, history = search_charts(search)
    kinds = Counter(value["kind"] for value in front.spec["data"]["values"])
    assert kinds == {"on the front": 4, "tried": 7, "over a limit": 1}
    areas = [value["hypervolume"] for value in history.spec["data"]["values"]]
    assert areas == [step["hypervolume"] for step in document["history"]]


def test_example_previews_show_texts_and_features() -> None:
    labels, names = np.zeros(2, np.int64), ("no", "yes")
    ids = np.array([[2, 3, 4, 1, 0, 0]] * 2)
    texts = Source("tsv:x", ids, labels, names, mirror=False, text_rule=Text(("good", "<film>")))
    assert thumbnails._preview(texts, ids[0]) == "good <film> …"
    sound = Source("npz:x", np.ones((2, 61, 40), np.float32), labels, names, mirror=False)
    for example in (sound.inputs[0], np.arange(12, dtype=np.float32), np.zeros((3, 4, 4), np.float32)):
        assert thumbnails._preview(sound, example).startswith(thumbnails.IMAGE)


def test_page_of_device_begins_with_its_verdict_and_next_steps() -> None:
    inputs = read_report_inputs([GOLDEN / "bench-1.json", GOLDEN / "predict-2.json"])
    assert verdict_texts(inputs)[0] in HEADLINES.values()
    inputs.device = "example"
    headline, text, facts = verdict_texts(inputs)
    assert headline == "Cannot tell whether early exit pays on example"
    assert text.startswith("The accuracy of small-int8.onnx is not known. Here fast")
    assert "not measured there" in facts
    assert inputs.bench is not None
    assert measured_text(inputs).endswith(inputs.bench.verdict.text)
    commands = [step.command for step in next_steps(inputs)]
    assert any("eetool profile resnet20.eebundle --device ssh://" in command for command in commands)
    assert any(command.startswith("eetool table extend example ") for command in commands)
    (table,) = predictions(inputs)
    assert [row[0] for row in table.rows] == ["unsplit", "fast", "small-int8.onnx"]
    assert table.rows[1][4:6] == ("0.67", "0.60 to 0.74")
    assert any("coverage: the table has figures of 1 of 2 kinds" in line for line in table.warnings)


def test_next_steps_without_measurement_begin_with_bench(bundle: Path) -> None:
    steps = next_steps(read_report_inputs([bundle]))
    assert steps[0].command == f"eetool bench {bundle.name} --data SOURCE -o bench.json"
    assert next_steps(ReportInputs()) == []


@pytest.mark.parametrize(
    ("remedies", "text", "command"),
    [
        (("about 350 examples instead of 120",), "", "--data MORE_DATA --new-data -o"),
        (("more passes than 7, or a quieter machine",), "", "--passes 21 -o"),
        (("more --min-seconds, to time more of the examples",), "", "--min-seconds 60 -o"),
        (
            (),
            "Cannot tell. What would decide it: about 350 examples instead of 120. And so on.",
            "--data MORE_DATA --new-data -o",
        ),
    ],
)
def test_next_steps_of_an_open_benchmark_are_those_of_its_verdict(
    inputs: ReportInputs, remedies: tuple[str, ...], text: str, command: str
) -> None:
    bench = inputs.bench
    assert bench is not None
    verdict = dataclasses.replace(bench.verdict, pays=None, remedies=remedies, text=text)
    inputs.bench = dataclasses.replace(bench, verdict=verdict, passes=7)
    step = next_steps(inputs)[0]
    wanted = remedies[0] if remedies else "about 350 examples instead of 120"
    assert step.reason == f"The benchmark does not decide. What would decide it: {wanted}."
    assert command in step.command


def test_next_steps_points_with_the_same_thresholds_are_named(tmp_path: Path) -> None:
    def same(document: dict[str, Any]) -> None:
        points = document["variants"]["onnx/fp32"]["operating_points"]
        points["fast"]["thresholds"] = points["balanced"]["thresholds"]

    steps = next_steps(read_report_inputs([write_tiny_bundle(tmp_path, edit=same)]))
    (step,) = [step for step in steps if "have the same thresholds" in step.reason]
    assert step.reason.startswith("balanced and fast have")
    assert step.command.startswith("eetool tune tiny.eebundle --data tiny --max-accuracy-drop ")


def test_report_device_estimates_the_bundle(reported: Any, cli: Any, tmp_path: Path) -> None:
    page = tmp_path / "rpi5.html"
    done = cli("report", reported.bench, reported.bundle, "--device", "rpi5", "-o", page)
    assert done.code == 0, done
    words = Words(page.read_text()).words
    assert words[0] in {f"{headline} on rpi5" for headline in HEADLINES.values()}
    assert "What to do now" in words
    assert re.search(r"Made by eetool .* on \d{4}-\d\d-\d\d\.", " ".join(words))
    refused = cli("report", reported.bench, "--device", "rpi5", "-o", tmp_path / "other.html")
    assert (refused.code, "none of these documents is an estimate for rpi5" in refused.stderr) == (2, True), refused


def test_model_charts_learning_curve_is_drawn_per_exit() -> None:
    inputs = read_report_inputs([GOLDEN / "train-1.json"])
    loss, accuracy = model_charts(inputs, [], "full")
    assert (loss.name, loss.section, accuracy.name) == ("learning-loss", "training", "learning-accuracy")
    assert [v["value"] for v in accuracy.spec["data"]["values"]] == [21.0, 30.0, 60.0, 24.0, 34.0, 70.0]
    assert {v["exit"] for v in loss.spec["data"]["values"]} == {"exit 0", "exit 1", "final exit"}
    assert accuracy.spec["layer"][0]["data"]["values"] == [{"epoch": 2}]
    assert "126 examples of the split temperature" in accuracy.caption
