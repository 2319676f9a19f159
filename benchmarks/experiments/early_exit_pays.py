"""Early exit against static networks by wall-clock time: every experiment from a data path, resumable.

    python benchmarks/experiments/early_exit_pays.py --data cifar10:DIR --out FOLDER [--weights FOLDER] [--only ARM …]
    python benchmarks/experiments/early_exit_pays.py --data cifar10:DIR --out FOLDER --train-only [--jobs N]
    python benchmarks/experiments/early_exit_pays.py --data cifar10:DIR --out FOLDER --report summary.md

--data is cifar10, cifar100 or svhn, each with or without :DIR, or another source of 3×32×32 images. Each arm is a row
of `eetool` commands. Their outputs lie in FOLDER; an output that exists is not made again, and an interrupted training
resumes. --weights holds pretrained CIFAR ResNets (`*_resnet20.safetensors` and so on). These were trained on all
training images, so thresholds are fitted on half of the test set. Without --weights the static family is trained here
with the common budget, and training images are held out.

--train-only makes the models and stops, --jobs of them at a time. Train on a machine with a GPU, copy FOLDER to the
machine to measure on, and repeat the command there without it. Prints one JSON document, which is also written to
FOLDER/results.json. --report writes that document as Markdown, and a page and charts (SVG, PNG) of every benchmark to
FOLDER/charts, and runs nothing else.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from network_cascades import CLASSES
from pays_arms import ARMS, FOR_TEN_CLASSES, MODELS, frozen_network
from pays_report import report
from pays_workspace import DEEPEST, Workspace

from eetool.data.registry import load_source


def usual_arms(data: str) -> list[str]:
    """Return the arms that can be run on the data."""
    if len(load_source(data).classes) == CLASSES:
        return list(ARMS)
    print(f"left out, for data of {CLASSES} classes: {', '.join(FOR_TEN_CLASSES)}", file=sys.stderr)
    return [arm for arm in ARMS if arm not in FOR_TEN_CLASSES]


def charts(space: Workspace) -> None:
    """Write the report and charts of every benchmark."""
    for race in sorted(space.out.glob("*-space.json")):
        folder = space.out / "charts" / race.stem.removesuffix("-bench")
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "eetool", "report", str(race), "-o", str(folder / "report.html"), "--force"]
        subprocess.run([*command, "--figures", str(folder)], check=True, stdout=sys.stderr)


def train_all(space: Workspace, arms: list[str], jobs: int) -> None:
    """Make the models of the arms, `jobs` at a time; raise the first error when all others have ended."""
    space.backbone(DEEPEST)  # several arms need it
    if "confidence" in arms:
        frozen_network(space, "frozen")  # the arm confidence starts from its exits
    if space.teacher:
        space.teacher_model()
    tasks = [make for arm in MODELS if arm in arms for make in MODELS[arm](space)]
    with ThreadPoolExecutor(jobs) as pool:  # models that arms share are made once
        futures = [pool.submit(make) for make in {(make.func, make.args): make for make in tasks}.values()]
    for future in futures:
        future.result()


def main() -> None:
    """Run the requested arms and print all results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--only", action="append", choices=list(ARMS), default=None)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--mixed-precision", dest="precision", default="fp32")
    parser.add_argument("--erase", type=int, default=0, help="side of the square that is erased in training images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--teacher", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--torch-device", default="cpu")
    parser.add_argument("--device", default="rpi4", help="that exits are searched for: a profile's name or file")
    parser.add_argument("--splits", type=int, default=200, help="random splits of the arms certificates and searched")
    parser.add_argument("--quick", action="store_true", help="one pass over the images, as a smoke test")
    parser.add_argument("--densenet", default="densenet40")
    parser.add_argument("--vgg", default="vgg11")
    parser.add_argument("--train-only", action="store_true", help="make the models and stop")
    parser.add_argument("--jobs", type=int, default=1, help="with --train-only: how many trainings at a time")
    parser.add_argument("--report", type=Path, default=None, help="write the results as Markdown")
    options = vars(parser.parse_args())
    only, target = options.pop("only"), options.pop("report")
    train_only, jobs = options.pop("train_only"), options.pop("jobs")
    space = Workspace(**options)
    space.out.mkdir(parents=True, exist_ok=True)
    results = space.out / "results.json"
    document = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    if target is not None:
        target.write_text(report(space.data.partition(":")[0], document), encoding="utf-8")
        charts(space)
        return
    arms = only or usual_arms(space.data)
    if train_only:
        train_all(space, arms, jobs)
        return
    for arm in arms:
        document[arm] = ARMS[arm](space)
        results.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
