"""A bundle is cut, served, measured, tuned, run and compared, as docs/howto/offload.md does it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import eetool
from eetool.errors import UsageError
from eetool.model.checkpoint import save_checkpoint
from eetool.model.network_joining import join_networks
from eetool_runtime import open_bundle
from eetool_runtime.offload import Offload
from tests.helpers.cascade_networks import small_and_big
from tests.helpers.certificates import Authority, Tls
from tests.helpers.inference_server import InferenceServer
from tests.helpers.tiny_bundle import X, with_offload, write_tiny_bundle

SCHEMAS = Path(__file__).parents[2] / "eetool/schemas"
CUT = ("--wire", "uint8", "--repository")


def validated(result: Any) -> dict[str, Any]:
    assert result.code == 0, result
    document: dict[str, Any] = result.document
    stem = document["schema"].replace("/", "-")
    schema = json.loads((SCHEMAS / f"{stem}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


def test_export_offload_alone_lists_the_cuts(cli: Any, tmp_path: Path) -> None:
    cuts = validated(cli("export", write_tiny_bundle(tmp_path), "--offload", "--json"))["cuts"]
    assert [cut["offload"] for cut in cuts] == ["input", "0", "1"]
    assert cuts[0]["sent_bytes"] == {"fp32": 64, "fp16": 32, "uint8": 16}


def test_export_offload_of_a_bundle_adds_its_server(cli: Any, refused: Any, tmp_path: Path) -> None:
    tiny, models = write_tiny_bundle(tmp_path), tmp_path / "models"
    document = validated(cli("export", tiny, "--offload", 0, *CUT, models, "--json"))
    spec = open_bundle(tiny).manifest.offload
    assert spec is not None
    assert (document["model"], document["sent_bytes"]) == (spec.model, 16)
    assert (models / spec.model / "config.pbtxt").is_file()
    assert cli("verify", tiny).code == 0
    refused(2, "has a server already", "export", tiny, "--offload", "input", *CUT, models)
    assert validated(cli("export", tiny, "--offload", "input", *CUT, models, "--force", "--json"))["after_exit"] is None


def test_export_offload_of_a_cascade_sends_the_input_of_the_next_network(cli: Any, tmp_path: Path) -> None:
    """Behind the last exit of the first network nothing of it is read, so that its pixels travel."""
    save_checkpoint(tmp_path / "model.pt", join_networks(small_and_big(), ensemble=False))
    options = ("--offload", 1, *CUT, tmp_path / "models", "--no-reference", "--json")
    document = validated(cli("export", tmp_path / "model.pt", *options))
    bundle = open_bundle(tmp_path / "model.eebundle")
    assert bundle.manifest.name == "model"
    assert [(i["tensor"], i["dtype"], i["scale"]) for i in document["inputs"]] == [("input", "UINT8", None)]
    assert document["sent_bytes"] == 16 * 16
    assert [e["exit"] for e in document["exits"]] == [2, 3]
    assert document["same_decisions"] == {"full": 1.0}


def test_export_offload_bad_input_is_refused(refused: Any, tmp_path: Path) -> None:
    tiny, models = write_tiny_bundle(tmp_path), tmp_path / "models"
    refused(2, "exit 2 is the last one", "export", tiny, "--offload", 2, *CUT, models)
    refused(2, "there is no exit 7", "export", tiny, "--offload", 7, *CUT, models)
    refused(2, "neither the number of an exit nor input", "export", tiny, "--offload", "late", *CUT, models)
    refused(2, "fp8", "export", tiny, "--offload", 0, "--wire", "fp8", "--repository", models)
    refused(2, "also takes --wire and --repository", "export", tiny, "--offload", 0)
    refused(2, "a bundle has its components already", "export", tiny, "--offload", 0, *CUT, models, "--merge", "all")
    refused(3, "is a bundle", "export", tiny)
    assert not models.exists()


def test_commands_without_a_server_refuse_its_options(refused: Any, tmp_path: Path) -> None:
    tiny = write_tiny_bundle(tmp_path)
    np.save(tmp_path / "x.npy", X)
    refused(2, "--offload-fallback is of a server", "run", tiny, tmp_path / "x.npy", "--offload-fallback", "best")
    refused(2, "--offload-timeout-ms is of a server", "profile", tiny, "--offload-timeout-ms", 5)
    refused(2, "--max-offload-share is of a server", "tune", tiny, "--data", "digits", "--max-offload-share", 0.5)
    refused(2, "asks no server", "profile", tiny, "--link", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    "url", ["http://user:hunter2@127.0.0.1:9", "grpcs://hunter2@edge", "https://edge/?key=hunter2"]
)
def test_commands_print_no_credentials_of_a_url(cli: Any, tmp_path: Path, url: str) -> None:
    tiny = write_tiny_bundle(tmp_path, edit=with_offload)
    np.save(tmp_path / "x.npy", X)
    commands = (
        ("profile", tiny, "--link", url),
        ("run", tiny, tmp_path / "x.npy", "--offload", url),
        ("bench", tiny, "--data", "digits", "--offload", url),
    )
    for command in commands:
        for form in ((), ("--json",)):
            result = cli(*command, *form)
            assert result.code == 2, result
            assert "hunter2" not in result.stdout + result.stderr
            assert "the URL of a server h" in result.stdout + result.stderr


@pytest.fixture(scope="module")
def served(cli: Any, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, InferenceServer]]:
    """Yield a bundle that is cut behind exit 0, beside `link.json`, and its server over REST."""
    folder = tmp_path_factory.mktemp("served")
    ours, models = shutil.copytree(bundle, folder / "model.eebundle"), folder / "models"
    assert cli("export", ours, "--offload", 0, *CUT, models).code == 0
    with InferenceServer(models, "http") as server:
        options = ("--link", server.url, "--link-calls", 20, "--link-pause-ms", 0)
        validated(cli("profile", ours, *options, "-o", folder / "link.json", "--json"))
        yield ours, server


def test_profile_link_measures_the_bytes_that_are_sent(served: tuple[Path, InferenceServer]) -> None:
    link = json.loads((served[0].parent / "link.json").read_text(encoding="utf-8"))
    one, eight = link["sizes"]
    assert (one["n"], len(one["times_ms"]), one["failed_ms"]) == (20, 20, [])
    assert eight["bytes"] == 8 * one["bytes"]
    assert one["p50_ms"] <= one["p95_ms"]
    assert link["round_trip_ms"]["p50"] < one["p50_ms"]
    assert link["energy_mj"] is None


def test_profile_link_to_nothing_is_refused(refused: Any, served: tuple[Path, InferenceServer]) -> None:
    refused(5, "127.0.0.1:9 does not serve", "profile", served[0], "--link", "http://127.0.0.1:9")


def test_profile_link_names_what_is_wrong_and_what_helps(
    cli: Any, served: tuple[Path, InferenceServer], tmp_path: Path
) -> None:
    def refusal(bundle: Path, url: str, *options: object) -> str:
        result = cli("profile", bundle, "--link", url, *options)
        assert (result.code, result.stdout) == (5, "")
        text: str = result.stderr
        return text

    ours, server = served
    (tmp_path / "token").write_text("hunter2", encoding="utf-8")
    server.behaviour.token = "renewed"
    expired = refusal(ours, server.url, "--offload-token-file", tmp_path / "token")
    server.behaviour.token = None
    assert "the server refuses the token, which may have expired" in expired
    assert "Give a valid token in EETOOL_OFFLOAD_TOKEN" in expired
    assert "hunter2" not in expired
    without = refusal(write_tiny_bundle(tmp_path, edit=with_offload), server.url)
    assert "the server has no model 'tiny-0123abcd'" in without
    assert "Start it with the folder of models" in without
    with InferenceServer(ours.parent / "models", "http", Tls(*Authority(tmp_path).sign("localhost"))) as secure:
        unknown = refusal(ours, secure.url)
    assert "is refused: unable to get local issuer certificate" in unknown
    assert "Give its authority with --offload-ca" in unknown
    assert "Give the URL of a server of the Open Inference Protocol" in refusal(ours, f"{server.url}/elsewhere")


def with_delay(served: Path, folder: Path, delay_ms: float) -> Path:
    """Write the measured link with other times of calls."""
    link = json.loads((served.parent / "link.json").read_text(encoding="utf-8"))
    for size in link["sizes"]:
        size["times_ms"] = [delay_ms] * 19
        size["failed_ms"] = [delay_ms]
    path = folder / f"link{delay_ms:g}.json"
    path.write_text(json.dumps(link), encoding="utf-8")
    return path


def test_tune_link_offloads_where_it_pays_and_never_where_not(
    cli: Any, served: tuple[Path, InferenceServer], tmp_path: Path
) -> None:
    """On a slow board a quick server pays, and with a slow one no point asks it."""
    tune = ("tune", served[0], "--data", "digits", "--device", "rpi4", "--max-accuracy-drop", 4, "--force")
    quick = validated(
        cli(*tune, "--link", with_delay(served[0], tmp_path, 0.01), "-o", tmp_path / "quick.eebundle", "--json")
    )["offload"]
    assert quick["choices"]["full"]["offloads"]
    for choice in quick["choices"].values():
        if choice["offloads"]:
            assert choice["link_up"] < choice["local"]
            assert choice["break_even"] > choice["wait"]
    assert set(quick["operating_points"]) == {name for name, c in quick["choices"].items() if c["offloads"]}
    limited = ("--link", with_delay(served[0], tmp_path, 0.02), "--max-offload-share", 0.5)
    choices = validated(cli(*tune, *limited, "-o", tmp_path / "limited.eebundle", "--json"))["offload"]["choices"]
    assert not choices["full"]["offloads"], "all of its inputs would be sent"
    assert all(c["share"] <= 0.5 for c in choices.values() if c["offloads"])
    slow = cli(*tune, "--link", with_delay(served[0], tmp_path, 30), "-o", tmp_path / "slow.eebundle")
    assert slow.code == 0, slow
    assert "never offload: at no operating point asking the server pays" in slow.stdout
    spec = open_bundle(tmp_path / "slow.eebundle").manifest.offload
    assert spec is not None
    assert spec.variants["onnx/fp32"].operating_points == {}


def test_tune_link_energy_is_charged_where_it_is_known(
    cli: Any, refused: Any, served: tuple[Path, InferenceServer], tmp_path: Path
) -> None:
    """`profile --link` measures none, and no other figure takes its place."""
    link = json.loads((served[0].parent / "link.json").read_text(encoding="utf-8"))
    tune = ("tune", served[0], "--data", "digits", "--device", "rpi4", "--max-accuracy-drop", 4)
    energy = (*tune, "--max-energy-mj", 1e6, "--force", "-o", tmp_path / "m.eebundle", "--link")
    refused(5, "is not known: it was not measured", *energy, served[0].parent / "link.json")
    for name, millijoules, pays in (("cheap", 1e-6, True), ("dear", 1e6, False)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({**link, "energy_mj": millijoules}), encoding="utf-8")
        asked = validated(cli(*energy, path, "--json"))["offload"]
        assert (asked["unit"], asked["wait"]) == ("energy_mj", millijoules)
        assert asked["choices"]["full"]["offloads"] == pays


def test_tune_link_of_another_model_or_device_is_refused(
    refused: Any, served: tuple[Path, InferenceServer], bundle: Path, tmp_path: Path
) -> None:
    link = served[0].parent / "link.json"
    document = json.loads(link.read_text(encoding="utf-8"))
    other, larger = tmp_path / "other.json", tmp_path / "larger.json"
    other.write_text(json.dumps({**document, "model": "model-00000000"}), encoding="utf-8")
    sizes = [{**size, "bytes": 2 * size["bytes"]} for size in document["sizes"]]
    larger.write_text(json.dumps({**document, "sizes": sizes}), encoding="utf-8")
    tune = ("tune", served[0], "--data", "digits", "--device", "rpi4", "--force", "-o", tmp_path / "m.eebundle")
    refused(3, "was measured for the model model-00000000", *tune, "--link", other)
    refused(3, "has times of", *tune, "--link", larger)
    refused(2, "knows of no answer after 1000 ms", *tune, "--link", link, "--offload-timeout-ms", 2000)
    refused(2, "asks no server", "tune", bundle, "--data", "digits", "--link", link, "--force")
    refused(2, "a link pays or not", *tune[:4], "--force", "-o", tmp_path / "m.eebundle", "--link", link)


def test_run_and_bench_with_a_server_answer_as_without(
    cli: Any, served: tuple[Path, InferenceServer], tmp_path: Path
) -> None:
    ours, server = served
    np.save(tmp_path / "x.npy", open_bundle(ours).arrays("samples/inputs.npz")["input"][:6])
    slow = ("--offload-timeout-ms", 5000)  # of a busy machine
    alone = validated(cli("run", ours, tmp_path / "x.npy", "--operating-point", "full", "--json"))
    together = validated(
        cli("run", ours, tmp_path / "x.npy", "--operating-point", "full", "--offload", server.url, *slow, "--json")
    )
    assert [r["label"] for r in together["results"]] == [r["label"] for r in alone["results"]]
    assert {(r["where"], r["offload"]) for r in together["results"]} == {("server", "ok")}
    options = ("--data", "digits", "--passes", 1, "--min-seconds", 0, "--offload", server.url, *slow)
    bench = validated(cli("bench", ours, *options, "--json"))
    ways = {way["name"]: way for way in bench["offload"]["ways"]}
    assert ways["full + server"]["answered"] == 1.0
    assert ways["full + server"]["predicted_ms"] is None, "it was not tuned with a link"
    accuracies = {way["name"]: way["accuracy"] for way in bench["ways"]}
    assert abs(accuracies["full + server"] - accuracies["full"]) < 0.02


def test_run_without_its_server_answers_on_the_device(
    cli: Any, served: tuple[Path, InferenceServer], tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", open_bundle(served[0]).arrays("samples/inputs.npz")["input"][:2])
    run = cli("run", served[0], tmp_path / "x.npy", "--operating-point", "full", "--offload", "http://127.0.0.1:9")
    assert run.code == 0, run
    assert "warning: the server is not asked" in run.stderr
    assert "device" in run.stdout


def test_python_functions_do_as_the_commands(served: tuple[Path, InferenceServer], tmp_path: Path) -> None:
    ours, server = served
    link, output = with_delay(ours, tmp_path, 0.01), tmp_path / "tuned.eebundle"
    tuned = eetool.tune(ours, "digits", output, device="rpi4", max_accuracy_drop=4, link=link, offload_timeout_ms=30)
    assert tuned.offload is not None
    assert (tuned.offload.forecast.timeout_ms, tuned.offload.forecast.points["full"].offloads) == (30, True)
    offload = Offload(server.url, timeout_ms=5000)
    measured = eetool.bench(output, "digits", passes=1, min_seconds=0, accept_unstable=True, offload=offload)
    assert {way.name: way.answered for way in measured.offload.ways}["full + server"] == 1.0
    with pytest.raises(UsageError, match="max_offload_share is of a server"):
        eetool.tune(ours, "digits", tmp_path / "m.eebundle", device="rpi4", max_offload_share=0.5)
    with pytest.raises(UsageError, match="str is no server"):
        eetool.bench(ours, "digits", offload=server.url)  # type: ignore[arg-type]


def test_python_export_writes_the_part_of_a_server(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pt", join_networks(small_and_big(), ensemble=False))
    models = tmp_path / "models"
    bundle = eetool.export(tmp_path / "model.pt", offload=1, wire="uint8", repository=models, reference_graphs=False)
    assert bundle.manifest.offload is not None
    assert (models / bundle.manifest.offload.model / "config.pbtxt").is_file()
    for wrong in ({"offload": 1}, {"wire": "fp32", "repository": models}):
        with pytest.raises(UsageError, match="belong together"):
            eetool.export(tmp_path / "model.pt", tmp_path / "m.eebundle", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="neither the number of an exit"):
        eetool.export(tmp_path / "model.pt", tmp_path / "m.eebundle", offload="late", wire="fp16", repository=models)
