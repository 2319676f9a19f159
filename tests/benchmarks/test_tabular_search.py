"""`benchmarks/tabular_search.py`: the file of a table, exact evaluation, searches on it, and both commands."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eetool.errors import ArtefactError, UsageError
from eetool.search.methods.methods import METHODS
from tests.helpers.scripts import call_script
from tests.helpers.search_tables import BACKBONES, BENCHMARKS, BRANCHES, COUNTS, TAPS, synthetic_table

SCRIPT = "benchmarks/tabular_search.py"


@pytest.fixture(autouse=True)
def scripts_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


@pytest.fixture(scope="module")
def table() -> Any:
    return synthetic_table()


def evaluator(table: Any, objective: str = "macs") -> Any:
    from tabular.table_evaluation import TableEvaluator

    return TableEvaluator(table, objective)


def network(backbone: int, *exits: tuple[int, int]) -> Any:
    from tabular.table_evaluation import TableNetwork

    return TableNetwork(backbone, exits)


def test_write_table_read_table_returns_the_same(table: Any, tmp_path: Path) -> None:
    from tabular.table_file import read_table, write_table

    write_table(tmp_path / "table.npz", table, force=False)
    again = read_table(tmp_path / "table.npz")
    assert again.meta == table.meta
    assert all(np.array_equal(again.arrays[name], array) for name, array in table.arrays.items())
    assert (again.backbones, again.taps, again.branches) == (BACKBONES, TAPS, BRANCHES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta, arrays: meta.update(format="eetool-search-table/9"), "of the format"),
        (lambda meta, arrays: meta.update(backbones=[]), "no backbone"),
        (lambda meta, arrays: meta["backbones"][0].update(taps=[]), "0 taps"),
        (lambda meta, arrays: arrays.pop("rpi4_trunk_latency_ms"), "missing"),
        (lambda meta, arrays: arrays.update(labels=arrays["labels"][:9]), "labels"),
        (lambda meta, arrays: arrays.update(head_macs=arrays["head_macs"] * np.nan), "not finite"),
    ],
)
def test_read_table_wrong_file_raises_artefact_error(change: Any, message: str, tmp_path: Path) -> None:
    from tabular.table_file import SearchTable, read_table, write_table

    made = synthetic_table()
    meta = json.loads(json.dumps(made.meta))
    change(meta, made.arrays)
    write_table(tmp_path / "table.npz", SearchTable(meta, made.arrays), force=False)
    with pytest.raises(ArtefactError, match=message):
        read_table(tmp_path / "table.npz")


def test_read_table_no_table_raises_artefact_error(tmp_path: Path) -> None:
    from tabular.table_file import read_table

    (tmp_path / "text.npz").write_text("no archive")
    for name in ("text.npz", "absent.npz"):
        with pytest.raises(ArtefactError):
            read_table(tmp_path / name)


def test_table_evaluation_is_imported_without_torch() -> None:
    code = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import tabular.table_evaluation as a"
    code += ", eetool.search.methods.batch_thresholds as b"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_figures_macs_are_those_of_example_by_example(table: Any) -> None:
    chosen, thresholds = network(1, (0, 0), (2, 3)), (0.9, 0.7)
    figures = evaluator(table).figures(chosen, thresholds, "test")
    at = range(COUNTS["threshold"] + COUNTS["judge"], sum(COUNTS.values()))
    a, costs, right = table.arrays, [], []
    for example in at:
        cost = a["trunk_macs"][1, 0]
        for place, (tap, branch) in enumerate(chosen.exits):
            cost += a["head_macs"][1, tap, branch]
            if 1 - float(a["uncertainty"][1, tap, branch, example]) >= thresholds[place]:
                right.append(a["classes"][1, tap, branch, example] == a["labels"][example])
                break
            until = chosen.exits[1][0] if place == 0 else TAPS
            cost += a["trunk_macs"][1, tap + 1 : until + 1].sum()
        else:
            right.append(a["final_classes"][1, example] == a["labels"][example])
        costs.append(cost)
    assert figures.cost == pytest.approx(np.mean(costs))
    assert figures.accuracy == pytest.approx(np.mean(right))


def test_costs_of_latency_add_dispatch_step_call_and_turn(table: Any) -> None:
    a = table.arrays
    costs = evaluator(table, "rpi4_latency_ms").costs(network(0, (1, 2))).leaving((0.5,))
    segment, head = a["rpi4_trunk_latency_ms"][0, :2].sum(), a["rpi4_head_latency_ms"][0, 1, 2]
    # Two components: a dispatch, the runtime's step and a turn for each; one call.
    assert costs[0] == pytest.approx(segment + head + 2 * (0.02 + 0.01 + 0.01) + 0.05)
    alone = evaluator(table, "rpi4_latency_ms").costs(network(0)).leaving(())
    assert alone[0] == pytest.approx(a["rpi4_trunk_latency_ms"][0].sum() + 0.02 + 0.01 + 0.05)
    with pytest.raises(UsageError, match="no objective"):
        evaluator(table, "pixel3_latency_ms")


def test_table_network_reads_genes_and_the_rule(table: Any) -> None:
    from tabular.table_space import genome_thresholds, table_network, table_space

    space = table_space(table)
    genome = space.express({"backbone": "large", "exit1.position": 1, "exit1.branch": "max2", "exit3.position": 1})
    assert table_network(table, space, genome) == network(2, (1, 1), (3, 0))
    assert table_network(table, space, space.with_adaptive(genome)) == network(2, (1, 3), (3, 3))
    ruled = METHODS["edanas"].space(space)
    largest = ruled.largest()  # thresholds of edanas: never
    assert table_network(table, ruled, largest) == network(2, *((tap, 3) for tap in range(TAPS - 1)))  # ends of stages
    assert genome_thresholds(largest, TAPS) == (None,) * (TAPS - 1)
    assert genome_thresholds({**largest, "exit0.threshold": 0.1}, TAPS) == (0.1, None, None)


def test_stage_ends_are_the_deepest_taps_of_stages_but_the_last() -> None:
    from tabular.table_space import stage_ends

    assert stage_ends(["layer1.0", "layer1.4", "layer2.2", "layer2.5", "layer3.0", "layer3.7"]) == (1, 3)


def test_run_search_same_seed_finds_the_same(table: Any) -> None:
    from tabular.table_search import SearchTask, run_search

    runs = [run_search(evaluator(table), SearchTask("local", 12, seed=1)) for _ in range(2)]
    assert np.array_equal(runs[0].test, runs[1].test)
    assert runs[0].evaluated == 12
    assert runs[0].judge.shape == runs[0].test.shape
    assert np.allclose(runs[0].judge[:, 1], runs[0].judge[:, 2])  # the objective is the first of the table
    assert (runs[0].judge[:, 1] > 0).all()


@pytest.mark.parametrize("name", ["nachos", "edanas", "tpe"])  # the loop of `aebnas` is that of nachos
def test_run_search_threshold_rule_of_method_is_used(name: str, table: Any) -> None:
    from tabular.table_search import SearchTask, run_search
    from tabular.table_space import table_network, table_space

    run = run_search(evaluator(table), SearchTask(name, 4, seed=0))
    assert run.evaluated == 4
    assert len(run.judge) == 4 if METHODS[name].thresholds != "tuned" else len(run.judge) > 4
    space = METHODS[name].space(table_space(table))
    for values in run.archive if name == "edanas" else ():  # exits at the ends of stages, by the rule
        assert table_network(table, space, values.genome).exits == tuple((tap, 3) for tap in range(TAPS - 1))


def test_run_search_most_exits_is_kept_and_dominated_by_the_optimum(table: Any) -> None:
    from tabular.exact_optimum import best_points
    from tabular.measures import Scale
    from tabular.table_search import SearchTask, TableJudge, run_search

    run = run_search(evaluator(table), SearchTask("random", 8, 0, most_exits=1))
    assert all(len(one.exit_accuracies) <= 2 for one in run.archive)
    judge = TableJudge(evaluator(table), METHODS["random"], 1.0)
    fronts = [best_points(evaluator(table), judge, b, 1) for b in range(3)]
    optimum = np.hsplit(np.concatenate(fronts), 2)[0]
    scale = Scale.of(2.4e7, [0.7, 0.9])
    assert scale.hypervolume(optimum) >= scale.hypervolume(run.judge)
    for error, cost in run.judge[:, :2]:
        assert ((optimum[:, 0] <= error) & (optimum[:, 1] <= cost)).any()


def test_local_finds_more_than_random(table: Any) -> None:
    from tabular.measures import Scale
    from tabular.table_search import SearchTask, run_search

    scale = Scale.of(2.4e7, [0.7, 0.9])
    area = {
        name: [scale.hypervolume(run_search(evaluator(table), SearchTask(name, 40, seed)).judge) for seed in (0, 1)]
        for name in ("local", "random")
    }
    assert np.mean(area["local"]) > 1.02 * np.mean(area["random"])


def test_scale_measures_choose_on_judge_and_report_test() -> None:
    from tabular.measures import Scale

    scale = Scale(10.0, (2.0, 5.0), (0.8, 0.95))
    judge = np.array([[0.3, 1.0], [0.1, 4.0], [0.08, 9.0], [0.35, 2.0]])  # the last one is not on the front
    test = np.array([[0.25, 1.5], [0.15, 4.5], [0.2, 9.0], [0.05, 1.0]])
    assert scale.accuracies(judge, test).tolist() == pytest.approx([0.75, 0.85])
    assert scale.costs(judge, test).tolist() == [4.5, 10.0]  # 80 % on `test`; no point of 95 %
    one = scale.hypervolume(np.array([[0.1, 10 / np.e]]))
    assert one == pytest.approx(0.3)  # an e-fold of cost, and 0.4 less 0.1 of error


def test_intervals_hold_means_and_differences() -> None:
    from tabular.measures import difference_interval, mean_interval

    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 1, 30), rng.normal(0, 1, 30)
    mean, low, high = mean_interval(first)
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * first.std() / np.sqrt(30), rel=0.2)
    difference, low, high = difference_interval(first, second)
    assert 0 < low < difference < high


def test_compare_measures_every_method_and_resumes(table: Any, tmp_path: Path) -> None:
    from tabular.table_file import write_table

    write_table(tmp_path / "table.npz", table, force=False)
    small = ("--trials", "9", "--seeds", "2", "--ablation-trials", "4", "--most-exits", "1", "--workers", "1")
    command = ("compare", tmp_path / "table.npz", "--folder", tmp_path / "runs", "--objectives", "macs,rpi5_latency_ms")
    methods = ("--methods", "local,random", *small)
    document = json.loads(call_script(SCRIPT, *command, *methods))
    row = document["compare"]["rpi5_latency_ms"]["9"]["random"]
    assert len(row["accuracy_percent"]) == 3
    assert set(row["local is better by"]) >= {"accuracy_points", "cost_ratio", "hypervolume"}
    assert len(document["ablation"]) == 4
    assert len(document["objectives"]["rpi5_latency_ms"]["9"]["local"]["cost_ratio"]) == 3
    assert all(low >= -1e-12 for _, low, _ in document["regret"]["9"].values())
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.npy")}
    assert json.loads(call_script(SCRIPT, *command, *methods)) == document
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.npy")}
    write_table(tmp_path / "table.npz", synthetic_table(1), force=True)
    with pytest.raises(SystemExit) as stopped:
        call_script(SCRIPT, *command, *methods)
    assert stopped.value.code == 2


def test_tables_keep_earlier_comparisons(table: Any, tmp_path: Path) -> None:
    from tabular.table_file import write_table

    write_table(tmp_path / "table.npz", table, force=False)
    small = ("--folder", tmp_path / "runs", "--methods", "local,random", "--seeds", "2", "--objectives", "macs")
    compare = ("compare", tmp_path / "table.npz", *small, "--workers", "1", "--parts", "compare", "--trials")
    for trials in (5, 9):
        (tmp_path / f"{trials}.json").write_text(call_script(SCRIPT, *compare, trials))
    words = ("--source", "a test", "--output", tmp_path / "data.json")
    call_script(SCRIPT, "tables", tmp_path / "9.json", *words)
    nine = json.loads((tmp_path / "data.json").read_text())["tables"]["methods"]["rows"]
    call_script(SCRIPT, "tables", tmp_path / "5.json", *words, "--keep")
    both = json.loads((tmp_path / "data.json").read_text())["tables"]["methods"]["rows"]
    assert [row["cells"][1] for row in both] == [5, 5, 9, 9]
    assert both[2:] == nine
    call_script(
        SCRIPT, "tables", tmp_path / "9.json", *words, "--keep"
    )  # a comparison again takes the place of its own
    assert json.loads((tmp_path / "data.json").read_text())["tables"]["methods"]["rows"] == both


def test_tables_refuse_missing_and_damaged_documents(tmp_path: Path) -> None:
    (tmp_path / "damaged.json").write_text("{")
    (tmp_path / "empty.json").write_text("{}")
    words = ("--source", "a test", "--output", tmp_path / "data.json")
    for name, code in (("absent.json", 3), ("damaged.json", 3), ("empty.json", 2)):
        with pytest.raises(SystemExit) as stopped:
            call_script(SCRIPT, "tables", tmp_path / name, *words)
        assert stopped.value.code == code


def test_evaluate_prints_figures_of_all_parts(table: Any, tmp_path: Path) -> None:
    from tabular.table_file import write_table

    write_table(tmp_path / "table.npz", table, force=False)
    options = ("--backbone", "middle", "--exits", "0:2,2:0", "--thresholds", "0.9,never")
    document = json.loads(call_script(SCRIPT, "evaluate", tmp_path / "table.npz", *options))
    expected = evaluator(table).figures(network(1, (0, 2), (2, 0)), (0.9, None), "judge")
    assert document["parts"]["judge"]["accuracy"] == expected.accuracy
    assert document["parts"]["judge"]["macs"] == expected.cost
    for wrong in (("--exits", "2:0,0:2"), ("--exits", "0:9"), ("--thresholds", "0.9"), ("--backbone", "none")):
        with pytest.raises(SystemExit) as stopped:
            call_script(SCRIPT, "evaluate", tmp_path / "table.npz", *options, *wrong)
        assert stopped.value.code == 2


def test_picks_best_networks_cost_less_than_random_ones(table: Any, tmp_path: Path) -> None:
    from tabular.table_file import write_table

    write_table(tmp_path / "table.npz", table, force=False)
    options = ("--backbone", "large", "--most-exits", 1, "--count", 3, "--max-accuracy-drop", 3)
    document = json.loads(call_script(SCRIPT, "picks", tmp_path / "table.npz", *options))
    best, random = ([one["judge"]["cost"] for one in document[name]] for name in ("best", "random"))
    assert len(best) == len(random) == 3
    assert best == sorted(best)
    assert np.mean(best) < np.mean(random)
    assert all(one["taps"][0] in ("t0", "t1", "t2", "t3") for one in document["best"])


def test_make_digits_writes_a_table_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tabular import exit_figures, make_table
    from tabular.result_tables import tables
    from tabular.table_evaluation import CALIBRATED
    from tabular.table_file import read_table

    for module in (exit_figures, make_table):  # fewer branches take less time
        monkeypatch.setattr(module, "BRANCHES", ("linear", "max2,sep3-64"))
    output = tmp_path / "table.npz"
    small = ("--train", "resnet-8x3-16x3-32x3", "--train-epochs", 1, "--examples", 64, "--epochs", 1)
    where = ("--folder", tmp_path / "work", "--workers", 1, "--devices", "rpi4")
    command = ("make", output, "--data", "digits", *where, *small)
    document = json.loads(call_script(SCRIPT, *command))
    table = read_table(output)
    assert table.arrays["classes"].shape[:3] == (1, 8, 3)
    for tap, branch in product((0, 7), (0, 2)):
        figures = evaluator(table).figures(network(0, (tap, branch)), (0.5,), "test", CALIBRATED)
        assert 0 < figures.cost <= evaluator(table).costs(network(0, (tap, branch))).leaving((0.5,))[-1]
    full = evaluator(table, "rpi4_latency_ms").costs(network(0)).leaving(())[0]
    assert 0 < evaluator(table, "rpi4_latency_ms").costs(network(0, (0, 0))).leaving((0.5,))[0] < full
    assert set(document["seconds"]["resnet-8x3-16x3-32x3"]) >= {"backbone", "features", "tap0", "tap7", "costs"}
    few = ("joint", output, "--backbone", "resnet-8x3-16x3-32x3", "--count", 1, "--most-exits", 1, "--train-epochs", 1)
    full = (*few, "--folder", tmp_path / "joint", "--workers", 1, "--data")
    joint = json.loads(call_script(SCRIPT, *full, "digits"))
    assert len(list((tmp_path / "joint").glob("*.pt"))) == 2
    next((tmp_path / "joint").glob("*.npz")).unlink()  # interrupted behind the training
    assert json.loads(call_script(SCRIPT, *full, "digits")) == joint
    assert [row["group"] for row in joint["networks"]] == ["best", "random"]
    for row in joint["networks"]:
        kinds = row["table"], row["joint"]
        assert all(0 < kind["cost_share"] < 1.5 and 0 < kind["accuracy_at_budget"] <= 1 for kind in kinds)
    means = joint["agreement"]["cost_share"]["means"]
    assert means["best"]["table"] == joint["networks"][0]["table"]["cost_share"]
    assert joint["agreement"]["accuracy_at_budget"]["spearman"] in (
        None,
        pytest.approx(-1),
        pytest.approx(1),
    )  # of two networks
    rows = tables([{"scales": {"macs": {"cost": 1, "budgets": [0.5]}}}, joint], "a test")["tables"]["joint"]["rows"]
    assert [row["cells"][2] for row in rows] == [round(one["table"]["cost_share"], 3) for one in joint["networks"]]
    for name in ("tap3.npz", "names.json"):  # interrupted there
        (tmp_path / "work" / "resnet-8x3-16x3-32x3" / name).unlink()
    call_script(SCRIPT, *command, "--force")
    again = read_table(output)
    assert all(np.array_equal(again.arrays[name], array) for name, array in table.arrays.items())
    with pytest.raises(SystemExit) as stopped:
        call_script(SCRIPT, *command, "--force", "--examples", 65)
    assert stopped.value.code == 2


def test_joint_refuses_published_weights_and_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Path(__file__).parents[2] / "benchmarks/tabular/cifar10.npz"
    few = ("--count", 1, "--most-exits", 1, "--data", "digits", "--folder", tmp_path)
    for backbone, words in (
        ("resnet20", "published weights"),
        ("resnet-16x0-8x3-16x3-32x4", "not the data of the table"),
    ):
        with pytest.raises(SystemExit) as stopped:
            call_script(SCRIPT, "joint", table, "--backbone", backbone, *few)
        assert stopped.value.code == 2
        assert words in capsys.readouterr().err


def test_table_of_the_repository_holds_ten_backbones() -> None:
    from tabular.table_evaluation import CALIBRATED
    from tabular.table_file import read_table

    table = read_table(Path(__file__).parents[2] / "benchmarks/tabular/cifar10.npz")
    assert table.arrays["classes"].shape == (10, 8, 11, 5000)
    assert table.devices == ("rpi4", "rpi5")
    number = table.backbones.index("resnet56")
    figures = evaluator(table).figures(network(number), (), "test", CALIBRATED)
    assert figures.cost == pytest.approx(125_485_696)
    assert figures.accuracy == pytest.approx(0.93, abs=0.01)  # 93.4 % on all test images
    early = evaluator(table).figures(network(number, (5, 8)), (0.9,), "test", CALIBRATED)
    assert early.cost < 0.9 * figures.cost
    assert early.accuracy > figures.accuracy - 0.03
