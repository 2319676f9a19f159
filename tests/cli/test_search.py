"""`eetool search`, from a space to a bundle."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from eetool.errors import UsageError

ROOT = Path(__file__).parents[2]
SPACE = ("--space", "tests.helpers.small_spaces:mobile", "--data", "digits")
# Four trials are random, and four of a generation that the predictors plan.
QUICK = ("--trials", 8, "--supernet-epochs", 4, "--batch-size", 32, "--examples", 200, "--epochs", 2)


@pytest.fixture(scope="module")
def found(cli: Callable[..., Any], once: Callable[..., Path]) -> Path:
    """A front for rpi4. Read only."""

    def search(folder: Path) -> None:
        result = cli("search", *SPACE, *QUICK, "--device", "rpi4", "-o", folder / "search.front.json")
        assert result.code == 0, result
        assert "knee" in result.stdout

    return once("search", search) / "search.front.json"


def options(found: Path) -> tuple[object, ...]:
    """The same search with the supernet that is there."""
    return (*SPACE, *QUICK, "--device", "rpi4", "--supernet", found.with_name("search.front.json.supernet.pt"))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def timeless(path: Path) -> Any:
    document = read(path)
    for candidate in document["front"]:
        candidate.pop("seconds")
    return document


def test_search_front_conforms_to_schema(found: Path) -> None:
    schema = read(ROOT / "eetool/schemas/search-1.schema.json")
    document = read(found)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["device"] == "rpi4"
    assert document["provenance"]["latency_ms"] == "predicted"
    assert document["evaluated"] == 8
    costs = [c["figures"]["latency_ms"] for c in document["front"]]
    accuracies = [c["figures"]["accuracy"] for c in document["front"]]
    assert costs == sorted(costs)
    assert accuracies == sorted(accuracies)
    assert document["hypervolume"] > 0
    assert document["knee"] in [c["id"] for c in document["front"]]


def test_search_same_seed_gives_same_front(cli: Callable[..., Any], found: Path, tmp_path: Path) -> None:
    """And a search that was interrupted and resumed does: the second half of its trials is taken out of its study."""
    again = tmp_path / "again.json"
    assert cli("search", *options(found), "-o", again).code == 0
    assert timeless(again) == timeless(found)
    refused = cli("search", *options(found), "-o", tmp_path / "again.json")
    assert refused.code == 2
    again.unlink()
    refused = cli("search", *options(found), "-o", again)
    assert refused.code == 2
    assert "--resume" in refused.stderr
    with sqlite3.connect(tmp_path / "again.json.study.db") as database:
        database.execute("UPDATE trials SET state = 'FAIL' WHERE number >= 5")
    database.close()
    assert cli("search", *options(found), "-o", again, "--resume").code == 0
    assert timeless(again) == timeless(found)


def test_search_candidate_is_trained_tuned_and_exported(cli: Callable[..., Any], found: Path, tmp_path: Path) -> None:
    """One path from the search to the device; and the prediction is that of the bundle."""
    front = read(found)
    chosen = max(front["front"], key=lambda c: len(c["taps"]))
    model, bundle = tmp_path / "model.pt", tmp_path / "model.eebundle"
    result = cli("train", "--from", found, "--pick", chosen["id"], "--data", "digits", "--epochs", 1, "-o", model)
    assert result.code == 0, result
    assert chosen["score"] in result.stderr
    assert cli("tune", model, "--data", "digits", "--score", chosen["score"]).code == 0
    assert cli("export", model, "-o", bundle, "--no-reference").code == 0
    manifest = read(bundle / "manifest.json")
    assert manifest["score"] == chosen["score"]
    assert [e["tap"] for e in manifest["exits"]] == [*chosen["taps"], None]
    predicted = cli("profile", bundle, "--device", "rpi4", "--json").document
    worst = chosen["figures"]["worst_latency_ms"]
    if None not in chosen["thresholds"]:
        assert predicted["exits"][-1]["latency_ms"] == pytest.approx(worst, rel=0.01)  # docs/decisions/0012


def test_train_from_front_picks_knee_by_default(cli: Callable[..., Any], found: Path, tmp_path: Path) -> None:
    result = cli("train", "--from", found, "--data", "digits", "--epochs", 0, "-o", tmp_path / "model.pt", "--json")
    assert result.code == 0, result
    knee = read(found)["knee"]
    candidate = next(c for c in read(found)["front"] if c["id"] == knee)
    assert result.document["model"] == candidate["backbone"]


def test_search_own_backbone_needs_model_option(cli: Callable[..., Any], tmp_path: Path) -> None:
    path, model = tmp_path / "own.json", tmp_path / "model.pt"
    own = (
        "--space",
        "tests.helpers.small_spaces:own",
        "--data",
        "digits",
        "--trials",
        6,
        "--supernet-epochs",
        1,
        "--epochs",
        1,
    )
    result = cli(
        "search", *own, "--examples", 64, "--algorithm", "nsga2", "--max-parameters", 1e6, "-o", path, "--json"
    )
    assert result.code == 0, result
    assert result.document == read(path)
    assert result.document["device"] is None
    assert result.document["objective"] == "macs"
    config = next(c["config"] for c in result.document["front"] if c["id"] == result.document["knee"])
    assert set(config) == {"depth", "width"}
    train = ("train", "--from", path, "--data", "digits", "--epochs", 0, "-o", model)
    written = f"tests.helpers.small_spaces:Plain(width={config['width']}, depth={config['depth']})"
    for named in ((), ("--model", "tests.helpers.small_spaces:Plain")):
        refused = cli(*train, *named)
        assert (refused.code, "--model 'tests.helpers.small_spaces:Plain(" in refused.stderr) == (2, True), refused
    assert cli(*train, "--model", written).code == 0
    assert cli("inspect", model).code == 2
    assert cli("inspect", model, "--model", written).code == 0


def test_search_space_whose_answers_depend_on_the_batch_is_refused_before_training(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    space = "tests.helpers.small_spaces:mixing"
    result = cli("search", "--space", space, "--data", "digits", *QUICK, "-o", tmp_path / "x.json")
    assert result.code == 2, result
    assert "begins at native_batch_norm in stages.0.1 (BatchNorm2d), mixing_networks.py:" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "unknown search space", ("--space", "mobile", "--data", "digits")),
        (2, "latency_ms is not known without a device", (*SPACE, "--max-latency-ms", 3)),
        (5, "unknown device", (*SPACE, "--device", "rpi44")),
        (2, "--storage", (*SPACE, *QUICK, "--storage", "nowhere")),
        (2, "unknown torch device 'gpu'", (*SPACE, "--fine-tune", 1, "--torch-device", "gpu")),
        (2, "unknown torch device 'meta'", (*SPACE, "--torch-device", "meta")),
        (5, "there is no torch device 'cuda:99' here", (*SPACE, "--torch-device", "cuda:99")),
    ],
)
def test_search_wrong_arguments_are_refused(
    refused: Callable[..., None], tmp_path: Path, code: int, words: str, arguments: tuple[object, ...]
) -> None:
    refused(code, words, "search", *arguments, "-o", tmp_path / "front.json", "--supernet", tmp_path / "supernet.pt")


def test_search_impossible_budget_exits_with_6(cli: Callable[..., Any], found: Path, tmp_path: Path) -> None:
    result = cli("search", *options(found), "--max-latency-ms", 1e-3, "-o", tmp_path / "front.json", "--json")
    assert result.code == 6
    assert "--max-latency-ms 0.001 binds" in result.document["error"]["message"]
    assert "nearest" in result.document["error"]["hint"]
    assert not (tmp_path / "front.json").exists()


def test_search_study_of_another_space_is_refused(cli: Callable[..., Any], found: Path, tmp_path: Path) -> None:
    storage = ("--storage", f"sqlite:///{found}.study.db")
    result = cli(
        "search",
        "--space",
        "tests.helpers.small_spaces:own",
        "--data",
        "digits",
        *QUICK,
        *storage,
        "-o",
        tmp_path / "x.json",
    )
    assert result.code == 2
    assert "of another space" in result.stderr


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "either MODEL or --from", ()),
        (2, "either MODEL or --from", ("resnet8", "--from", "FRONT")),
        (2, "Leave --exits", ("--from", "FRONT", "--exits", 2)),
        (2, "have an id like", ("--from", "FRONT", "--pick", "nothing")),
        (3, "nowhere.json", ("--from", "nowhere.json")),
    ],
)
def test_train_from_front_wrong_arguments_are_refused(
    cli: Callable[..., Any], found: Path, tmp_path: Path, code: int, words: str, arguments: tuple[object, ...]
) -> None:
    given = [found if a == "FRONT" else a for a in arguments]
    result = cli("train", *given, "--data", "digits", "-o", tmp_path / "model.pt")
    assert result.code == code, result
    assert words in result.stderr


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ("--space", "mobile", "--data", "digits")),
        (2, ("--space", "tests.helpers.small_spaces:mobile", "--data", "digit")),
        (5, (*SPACE, "--device", "rpi44")),
        (2, (*SPACE, "--max-latency-ms", 3)),
        (2, (*SPACE, "--torch-device", "gpu")),
    ],
)
def test_search_forced_with_a_typo_keeps_the_study(
    cli: Callable[..., Any], tmp_path: Path, code: int, arguments: tuple[object, ...]
) -> None:
    study = tmp_path / "front.json.study.db"
    study.write_text("precious")
    result = cli("search", *arguments, "--force", "-o", tmp_path / "front.json")
    assert result.code == code, result
    assert study.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [study.name]


def test_search_forced_that_fails_at_once_restores_the_study(
    cli: Callable[..., Any], found: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eetool.search.search import Search

    def fail(*_: object) -> None:
        raise UsageError("the space makes no network")

    study = tmp_path / "front.json.study.db"
    study.write_text("precious")
    monkeypatch.setattr(Search, "run", fail)
    assert cli("search", *options(found), "--force", "-o", tmp_path / "front.json").code == 2
    assert study.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [study.name]


def test_search_forced_deletes_no_study_of_a_shared_storage(
    cli: Callable[..., Any], found: Path, tmp_path: Path
) -> None:
    shared = ("--storage", f"sqlite:///{found}.study.db", "--force", "--json")
    result = cli("search", *options(found), *shared, "-o", tmp_path / "front.json")
    assert result.code == 0, result
    assert timeless(tmp_path / "front.json") == timeless(found)  # seconds apart, the very candidates


def test_search_resumed_keeps_the_check_of_its_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from eetool.cli.search_request import at_speed_of_study
    from eetool.latency.check.table_check import ConditionCheck, ReferenceTime, SpeedFactor, TableCheck
    from eetool.latency.table.hw_profile import load_device

    profile = load_device("rpi5")
    factors = tuple(SpeedFactor(name, 1.5, (1.4, 1.6), name == "calls") for name in ("compute", "memory", "calls"))
    part = ConditionCheck("onnxruntime", "fp32", 1, factors, 0.0, (), (ReferenceTime("plain-0", 1.0, 1.5, True),))
    checks = [TableCheck("rpi5", 0.0, 1.0, (part,))]
    monkeypatch.setattr("eetool.api.checked_device.present_check", lambda *arguments: checks.pop())
    request = SimpleNamespace(
        storage=None,
        resume=False,
        check_table=True,
        device_threads=1,
        study_file=tmp_path / "study.db",
        check_file=tmp_path / "check.json",
    )
    notes: list[str] = []
    progress = SimpleNamespace(note=notes.append)
    first = at_speed_of_study(request, "rpi5.json", profile, progress)
    request.study_file.touch()
    request.resume = True
    assert bool(at_speed_of_study(request, "rpi5.json", profile, progress) == first != profile)
    assert (len(checks), notes) == (0, [f"warning: {notes[0].removeprefix('warning: ')}"])
    request.storage = "postgresql://shared"
    assert at_speed_of_study(request, "rpi5.json", profile, progress) is profile
