"""Every path argument of every command, given every kind of file and folder that it does not take.

All of them run in one process without torch, because such a slip is told before torch is imported or data is read.
"""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from eetool.artefact_kinds import identify
from tests.helpers.tiny_bundle import write_tiny_bundle

GOLDEN = Path(__file__).parents[1] / "golden"
TFLITE = Path(__file__).parents[1] / "helpers/litert_graphs/answer.tflite"
DOCUMENTS = ("advise", "bench", "profile", "predict", "train", "tune", "search", "hw_profile", "machine", "report")
REPORTED = {"advise/", "bench/", "profile/", "predict/", "train/", "tune/", "search/", "bundle", "json"}
DATA = ("--data", "digits")

# Every argument that is a path, as a command line with `@` in its place, and the kinds that it takes.
ARGUMENTS: dict[str, set[str]] = {
    "train @ --data digits -o {out}": set(),
    "train resnet8 --data digits -o {out} --weights @": {"weights", "checkpoint"},
    "train resnet8 --data digits -o {out} --recipe distill --teacher @": {"checkpoint"},
    "train --data digits -o {out} --from @": {"search/"},
    "train resnet8 -o {out} --data @": set(),
    "train resnet8 -o {out} --data folder:@": {"images", "folder"},
    "train resnet8 -o {out} --data npz:@": {"npz", "archive"},
    "tune @ --data digits -o {out}": {"bundle", "checkpoint"},
    "tune {checkpoint} -o {out} --data @": set(),
    "tune {checkpoint} -o {out} --data digits --profile @": {"profile/"},
    "tune {checkpoint} -o {out} --data digits --device @": {"hw_profile/"},
    "export @ -o {out}": {"checkpoint"},
    "export {checkpoint} -o {out} --merge auto --profile @": {"profile/"},
    "export {checkpoint} -o {out} --calibration-data @": set(),
    "verify @": {"bundle"},
    "inspect @": {"bundle", "checkpoint"},
    "run @ {image}": {"bundle"},
    "run {bundle} @": {"image", "npy", "text", "images"},
    "bench @ --data digits": {"bundle"},
    "bench {bundle} --data digits --against @": {"onnx", "bundle"},
    "bench {bundle} --data @": set(),
    "profile @": {"bundle", "checkpoint", "onnx"},
    "profile {bundle} --device @": {"hw_profile/"},
    "estimate @ --device rpi4": {"bundle", "checkpoint", "onnx"},
    "estimate {bundle} --device @": {"hw_profile/"},
    "report @ -o {out}": REPORTED,
    "search --space resnet -o {out} --data @": set(),
    "search --space resnet -o {out} --data digits --device @": {"hw_profile/"},
    "search --space resnet -o {out} --data digits --weights @": {"weights"},
    "search --space resnet -o {out} --data digits --supernet @": {"supernet", "missing"},
    "advise @ --data digits": {"checkpoint"},
    "advise resnet8 --data digits --weights @": {"weights", "checkpoint"},
    "advise resnet8 --data digits --against @": {"onnx"},
    "advise resnet8 --data digits --device @": {"hw_profile/"},
    "devices @": {"hw_profile/"},
    "table show @": {"hw_profile/"},
    "table extend @ -o {out}": {"hw_profile/"},
}
_PROGRAM = """
import json, sys
from click.testing import CliRunner
from eetool.cli.app import main
answers = []
for arguments in json.load(sys.stdin):
    before = "torch" in sys.modules
    result = CliRunner().invoke(main, arguments)
    answers.append([result.exit_code, result.stdout, result.stderr, not before and "torch" in sys.modules])
json.dump(answers, sys.__stdout__)
"""


class Answer(NamedTuple):
    """What a command answered, and whether it imported torch."""

    code: int
    stdout: str
    stderr: str
    imported_torch: bool


def run_without_torch(commands: list[list[str]], folder: Path) -> list[Answer]:
    """Run commands one after the other in one fresh process, in `folder`."""
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=json.dumps(commands), capture_output=True, text=True, cwd=folder
    )
    assert ended.returncode == 0, ended.stderr
    return [Answer(*answer) for answer in json.loads(ended.stdout)]


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory, cli: Any) -> dict[str, Path]:
    """Files and folders of every kind, by kind."""
    root = tmp_path_factory.mktemp("things")
    assert cli("train", "mlp-4x2", "--epochs", 0, "--input", "1x4", "--classes", 4, "-o", root / "model.pt").code == 0
    shutil.copytree(write_tiny_bundle(root), root / "bundles/tiny.eebundle")
    shutil.copytree(root, root / "checkpoints", ignore=lambda _, names: [n for n in names if n != "model.pt"])
    net = torch.nn.Linear(2, 2)
    torch.save(net.state_dict(), root / "weights.pth")
    save_file(net.state_dict(), root / "weights.safetensors")
    with zipfile.ZipFile(root / "program.pt", "w") as program:  # torch.jit can make none any more
        program.writestr("archive/data.pkl", b"")
        program.writestr("archive/constants.pkl", b"")
    shutil.copy(root / "tiny.eebundle/components/seg0/onnx-fp32/model.onnx", root / "net.onnx")
    shutil.copy(TFLITE, root / "net.tflite")
    (root / "photos/cats").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "photos/cats/1.png")
    Image.new("RGB", (8, 8)).save(root / "photo.jpg")
    np.save(root / "array.npy", np.zeros(2))
    np.savez(root / "data.npz", x=np.zeros(2))
    (root / "table.tsv").write_text("text\tlabel\na\tb\n")
    (root / "notes.txt").write_text("a\n")
    (root / "net.py").write_text("def make(): pass\n")
    (root / "other.json").write_text('{"a": 1}')
    (root / "empty").mkdir()
    with tarfile.open(root / "photos.tar.gz", "w:gz") as archive:
        archive.add(root / "notes.txt")
    for name in DOCUMENTS:
        shutil.copy(max(GOLDEN.glob(f"{name}-*.json")), root / f"{name}.json")
    paths = [*sorted(root.iterdir()), root / "tiny.eebundle/manifest.json", root / "absent.pt"]
    return {f"{identify(path).kind} {path.name}": path for path in paths}


@pytest.fixture(scope="module")
def answers(things: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Answer]:
    """Answers by argument and thing, of all things that the argument does not take."""
    folder = tmp_path_factory.mktemp("work")
    places = {
        "checkpoint": things["checkpoint model.pt"],
        "bundle": things["bundle tiny.eebundle"],
        "image": things["image photo.jpg"],
        "out": folder / "out",
    }
    pairs = [(a, t) for a, kinds in ARGUMENTS.items() for t in things if t.partition(" ")[0] not in kinds]
    lines = [
        [word.format(**places).replace("@", str(things[thing])) for word in argument.split()]
        for argument, thing in pairs
    ]
    return dict(zip(pairs, run_without_torch(lines, folder), strict=True))


def test_identify_tells_every_kind(things: dict[str, Path]) -> None:
    kinds = {thing.partition(" ")[0] for thing in things}
    assert kinds >= {f"{name}/" for name in DOCUMENTS}
    plain = "bundle checkpoint weights torchscript onnx tflite image npy npz table text python archive manifest json"
    assert kinds >= {*plain.split(), "bundles", "checkpoints", "images", "folder", "missing"}
    assert "unknown" not in kinds


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_path_argument_another_kind_names_it_and_a_command(
    answers: dict[tuple[str, str], Answer], things: dict[str, Path], argument: str
) -> None:
    wrong = {thing: answer for (other, thing), answer in answers.items() if other == argument}
    assert len(wrong) >= len(things) - len(REPORTED)
    for thing, answer in wrong.items():
        case = f"{argument} with {thing}: {answer.stderr}"
        assert answer.code in (2, 3), case
        assert answer.stdout == "", case
        message, _, hint = answer.stderr.partition("\n       ")
        assert message.startswith("error: "), case
        assert things[thing].name in message, case
        has_command = re.search(r"`eetool [a-z]+|--data (folder|npz|tsv):", hint)
        assert has_command or "Known sources" in hint, case
        assert not answer.imported_torch, case


@pytest.mark.parametrize(
    ("argument", "thing", "words"),
    [
        ("train @ --data digits -o {out}", "weights weights.pth", "--weights {path} --data SOURCE` makes a model.pt"),
        ("train @ --data digits -o {out}", "python net.py", "`eetool train net:FACTORY --data SOURCE`"),
        ("train @ --data digits -o {out}", "bundle tiny.eebundle", "is a bundle; train takes a network by its name"),
        ("export @ -o {out}", "bundle tiny.eebundle", "A bundle is exported already: `eetool run {path} IMAGE`"),
        ("verify @", "checkpoint model.pt", "`eetool export {path}` makes its bundle; then `eetool verify {bundle}`"),
        ("verify @", "bundles bundles", "Give the bundle: `eetool verify {path}/tiny.eebundle`"),
        ("verify @", "manifest manifest.json", "Give the bundle: `eetool verify {folder}`"),
        ("run {bundle} @", "checkpoints checkpoints", "`eetool inspect {path}/model.pt` shows the model in it"),
        ("run {bundle} @", "folder empty", "takes images, folders of them, .npy arrays and .txt files"),
        ("train resnet8 -o {out} --data @", "images photos", "Give it as `--data folder:{path}`"),
        ("train resnet8 -o {out} --data folder:@", "npz data.npz", "Give it as `--data npz:{path}`"),
        ("tune {checkpoint} -o {out} --data digits --profile @", "hw_profile/ hw_profile.json", "--device {path}"),
        (
            "estimate {bundle} --device @",
            "profile/ profile.json",
            "--data SOURCE --profile {path}`",
        ),
        ("bench @ --data digits", "bench/ bench.json", "`eetool report {path}` shows it"),
        ("inspect @", "missing absent.pt", "does not exist"),
    ],
)
def test_path_argument_says_the_command_to_type(
    answers: dict[tuple[str, str], Answer], things: dict[str, Path], argument: str, thing: str, words: str
) -> None:
    path = things[thing]
    expected = words.format(path=path, folder=path.parent, bundle=path.with_suffix(".eebundle"))
    assert expected in answers[argument, thing].stderr


SLIPS = {
    "trian": "Did you mean train?",
    "train resnet8 --dta digits": "Did you mean --data",
    "train resnet8 --data digits --recipe distil": "Did you mean distill?",
    "train resnte8 --data digits": "Did you mean resnet8",
    "train tmm:resnet18 --data digits": "Did you mean timm:resnet18?",
    "train ./nets/mine.py:make --data digits": "Such as `eetool train nets.mine:make`.",
    "train resnet8 --data foldr:photos": "Did you mean folder?",
    "train resnet8 --data digits -o {taken}": "Give --force to replace it",
    "train resnet8 --data digits --exits 2 --at a": "Give one of them.",
    "train resnet8 --data digits --weights-key ema": "Give both, or neither.",
    "train resnet8 --data digits --resume": "Start without --resume.",
    "estimate {checkpoint} --device rpi4 --data digits": "`eetool export` makes a bundle of it.",
    "train resnet8": "--epochs 0 attaches exits without training.",
    "tune {bundle} --data digits --variant onnx/fp23": "Did you mean onnx/fp32?",
    "tune {bundle} --data digits": "Give --force to replace its policy",
    "tune {checkpoint} --data digits --default nope": "There are: full, balanced, fast.",
    "tune {checkpoint} --data digits -o {nowhere}/m.pt": "is not a folder",
    "export {checkpoint} -o {taken}": "Give --force to replace it",
    "export {checkpoint} --layout single -o {onnx}": "Give --force to replace it",
    "estimate {bundle} --device rpi-4": "Did you mean rpi4",
    "estimate {bundle} --device rpi4 -o {taken}": "Give --force to replace it",
    "search --space resent --data digits": "Did you mean resnet?",
    "search --space resnet --data digits -o {taken}": "Give --force to replace it",
    "search --space no.such:space --data digits": "It must be installed or lie in this folder.",
    "train no.such:make --data digits": "It must be installed or lie in this folder.",
    "train resnet8 --data no.such:make": "It must be installed or lie in this folder.",
    "advise no.such:make --data digits": "It must be installed or lie in this folder.",
    "advise resnte8 --data digits": "Did you mean resnet8",
    "run {bundle} {image} --operating-point blanced": "Did you mean balanced?",
    "run {bundle} {image} --variant onnx/fp23": "Did you mean onnx/fp32?",
    "bench {bundle} --data digits --operating-point fats": "Did you mean fast?",
    "bench {bundle} --data digits -o {taken}": "Give --force to replace it",
    "profile {bundle} -o {taken}": "Give --force to replace it",
    "profile {bundle} --power pimc": "Did you mean pmic",
    "report {bundle} -o {taken}": "Give --force to replace it",
    "bench {bundle} --data digits --model resnet8": "'--model'.\n       Try '",
    "table bild": "Did you mean build?",
    "export {checkpoint} other.eebundle": "The output is given as -o PATH.",
    "train resnet8 --data digits --input 96": "--input 1x3x96x96.",
    "train resnet8 --data digits --input 96x64": "--input 1x3x96x64.",
    "train resnet8 --data digits --input 96,96,3": "--input 1x3x96x96.",
    "train resnet8 --data digits --input 96x96x3": "--input 1x3x96x96.",
    "train resnet8 --data digits --input 1,1,28,28": "--input 1x1x28x28.",
}


def test_usage_error_suggests_the_right_word_without_torch(things: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "taken.onnx").write_text("precious")
    places = {
        "checkpoint": things["checkpoint model.pt"],
        "bundle": things["bundle tiny.eebundle"],
        "image": things["image photo.jpg"],
        "taken": tmp_path / "taken.onnx",
        "onnx": tmp_path / "taken.onnx",
        "nowhere": tmp_path / "nowhere",
    }
    lines = [[word.format(**places) for word in line.split()] for line in SLIPS]
    for (line, words), answer in zip(SLIPS.items(), run_without_torch(lines, tmp_path), strict=True):
        case = f"{line}: {answer.stderr}"
        assert answer.code in (2, 5), case
        assert words in answer.stderr, case
        assert not answer.imported_torch, case
    assert list(tmp_path.iterdir()) == [tmp_path / "taken.onnx"]


@pytest.mark.parametrize("given", ["3x16x16", "1x3x16x16", "3×16×16"])
def test_inspect_shape_without_batch_is_that_of_an_image(cli: Any, given: str) -> None:
    document = cli("inspect", "resnet8", "--input", given, "--json").document
    assert document["inputs"][0]["shape"] == ["batch", 3, 16, 16]
