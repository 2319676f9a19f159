"""A report of the shared bundle, made once with the command line."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eetool.report.inputs import read_report_inputs
from eetool.report.model_charts import model_charts
from eetool.report.operating_points import initial_point, report_points, slider_points
from eetool.report.page import render_page
from eetool.report.thumbnails import IMAGE


@dataclass(frozen=True)
class Reported:
    """The documents, their page, its figures as files, and the output of the command."""

    bench: Path
    profile: Path
    predicted: Path
    bundle: Path
    page: Path
    figures: Path
    document: dict[str, Any]

    @property
    def documents(self) -> tuple[Path, ...]:
        return self.bench, self.profile, self.predicted, self.bundle


@pytest.fixture(scope="session")
def reported(cli: Callable[..., Any], bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    folder = tmp_path_factory.mktemp("report")
    bench, profile, predicted = (folder / f"{name}.json" for name in ("bench", "profile", "rpi4"))
    quick = ("--min-seconds", 0)
    commands: list[tuple[object, ...]] = [
        ("bench", bundle, "--data", "digits", "--against", bundle, "--passes", 1, *quick, "-o", bench),
        ("profile", bundle, "--threads", 1, "--runs", 20, *quick, "--watts", 3, "--accept-unstable", "-o", profile),
        ("profile", bundle, "--device", "rpi4", "-o", predicted),
    ]
    for command in commands:
        answered = cli(*command)
        assert answered.code == 0, answered
    page, figures = folder / "report.html", folder / "figures"
    documents = (bench, profile, predicted, bundle)
    answered = cli("report", *documents, "--data", "digits", "-o", page, "--figures", figures, "--json")
    assert answered.code == 0, answered
    return Reported(*documents, page, figures, answered.document)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    system = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
    with playwright.sync_playwright() as driver:
        try:
            launched = driver.chromium.launch(executable_path=system, args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip("no Chromium is installed")
        yield launched
        launched.close()


GOLDEN = Path(__file__).parents[1] / "golden"
# The others have golden files.
TRAIN = {
    "model": "resnet8",
    "split": "validation",
    "n": 40,
    "exits": [{"exit": 0, "tap": "b0", "macs": 7, "accuracy": 0.5}, {"exit": 1, "tap": None, "macs": 9, "accuracy": 1}],
}
_KEYS_OF_USERS = ("operating_points",)  # objects whose keys are names, not fields
_KEPT = ("schema",)


def marked(value: Any, words: str) -> Any:
    """Return the document with `words` before every string, keys that are names included."""
    if isinstance(value, str):
        return words + value
    if isinstance(value, list):
        return [marked(item, words) for item in value]
    if isinstance(value, dict):
        kept = {key: item if key in _KEPT else marked(item, words) for key, item in value.items()}
        for key in _KEYS_OF_USERS:
            if isinstance(value.get(key), dict):
                kept[key] = {words + name: marked(item, words) for name, item in value[key].items()}
        return kept
    return value


MarkedPage = Callable[..., Path]


@pytest.fixture
def marked_page(reported: Reported, tmp_path: Path) -> MarkedPage:
    """`marked_page(words)` is the page of a document of every kind, whose every string begins with `words`.

    With `bundle=True` it is that of a bundle alone, where its manifest may hold them.
    """

    def make(words: str, bundle: bool = False) -> Path:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        _write_bundle(reported.bundle, folder, words) if bundle else _write_documents(reported, folder, words)
        inputs = read_report_inputs(sorted(folder.iterdir()))
        looks: dict[int, str] = {}
        if inputs.bench is not None:
            examples = (example for e in inputs.bench.exits for example in (*e.easiest, *e.hardest))
            looks = {e.index: f"{IMAGE}{words}" if e.index % 2 else words for e in examples}
        points = report_points(inputs)
        start = initial_point(inputs, slider_points(inputs, points))
        path = folder / "report.html"
        path.write_text(
            render_page(
                inputs, points, slider_points(inputs, points), start, model_charts(inputs, points, start), looks
            )
        )
        return path

    return make


def _write_documents(reported: Reported, folder: Path, words: str) -> None:
    paths = {"bench": reported.bench, "profile": reported.profile, "predict": reported.predicted}
    documents = {name: json.loads(path.read_text()) for name, path in paths.items()}
    documents["search"] = json.loads((GOLDEN / "search-1.json").read_text())
    documents["train"] = {"schema": "train/1", **TRAIN}
    manifest = json.loads((GOLDEN / "manifest-1.0.json").read_text())
    points = next(iter(manifest["variants"].values()))["operating_points"]
    documents["tune"] = {"schema": "tune/1", "max_accuracy_drop": 2, "operating_points": points}
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(marked(document, words)))


def _write_bundle(bundle: Path, folder: Path, words: str) -> None:
    shutil.copytree(bundle, folder / "b.eebundle")
    path = folder / "b.eebundle/manifest.json"
    manifest = json.loads(path.read_text())
    for key in ("labels", "producer"):  # its other names are of letters, digits, dots and dashes
        manifest[key] = marked(manifest[key], words)
    path.write_text(json.dumps(manifest))
