"""Seeded fuzzer for the readers of checkpoints and fronts: a file becomes a network or is refused.

    python -m tests.attacks.fuzz_checkpoint --runs 10000

Records of valid checkpoints and fronts are damaged as in `fuzz_manifest.py`, with names of code among the new values.
Tensors are dropped, renamed, widened without memory and reshaped. A file that is still read is built, its MACs are
counted, and it runs on its samples. The program prints one JSON document. It exits with 1 after any other outcome, or
if a module was imported that only a file had named.
"""

import argparse
import io
import json
import random
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from eetool.errors import EarlyExitError
from eetool.model.branches import LINEAR
from eetool.model.checkpoint import load_checkpoint, save_checkpoint
from eetool.model.gate_scores import MAX_SOFTMAX
from eetool.search.search_results import pick_candidate, read_front, trusted
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool.tune.exit_costs import model_macs
from tests.helpers.json_damage import VALUES, damaged

_GOLDEN = Path(__file__).parents[1] / "golden/search-1.json"
_MAX_FOUND = 20
CANARIES = ("this", "antigravity")  # modules of Python that nothing imports by itself
_NAMES: tuple[Any, ...] = (
    *("this:c", "antigravity:webbrowser.open", "subprocess:run", "os:system", "this:c(x=1)", "this:", ":c", "this :c"),
    *("resnet8", "resnet-9999x999-9999x999", "mlp-9999x99", "mlp-4x1", "text-tiny", "vit-small", "resnet8@9999"),
    *("timm:hf-hub:a/b", "timm:resnet18", "hf:/etc", "hf:../x", "hf:bert", "torchvision:resnet18", "conv3-9999", "cls"),
    *({"args": ["sh", "-c", "exit"]}, {"vocabulary": 1 << 40}, {"auto_map": "a--b"}, ["batch", 1 << 20, 1 << 20]),
)
_POLICY = {
    "score": "max_softmax",
    "temperatures": [1.5, 0.25],
    "operating_points": {"full": {"thresholds": [None]}, "fast": {"thresholds": [0.75]}},
    "max_accuracy_drop": 1.0,
}


def seeds(folder: Path) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return valid checkpoints as `torch.load` returns them, and valid fronts."""
    forms = (
        ("mlp-8x2", (1, 12), ExitPlan(1, LINEAR)),
        ("resnet-4x0-4x1-8x1@6", (1, 1, 8, 8), ExitPlan(1, "conv3-4,max2")),
        ("resnet-4x0-4x1-8x1", (1, 3, 8, 8), ExitPlan(0)),
    )
    stored = []
    for index, (name, shape, plan) in enumerate(forms):
        path = folder / f"{index}.pt"
        save_checkpoint(path, attach_exits(name, shape, 3, plan, seed=0))
        actual = torch.load(path, weights_only=True)
        record = json.loads(actual["record"])
        if plan.count:
            record["policy"] = _POLICY
        stored.append({**actual, "record": json.dumps(record)})
    front = json.loads(_GOLDEN.read_text(encoding="utf-8"))
    front["front"] = [{**c, "backbone": "resnet-4x0-4x1-8x1", "taps": ["stage1.0"]} for c in front["front"]]
    front["front"] = [{**c, "branches": ["linear"]} for c in front["front"]]
    return stored, [json.dumps(front).encode()]


def damaged_file(random_pick: random.Random, stored: list[dict[str, Any]]) -> bytes:
    """Return a checkpoint whose record, tensors or bytes are damaged."""
    whole = dict(random_pick.choice(stored))
    kind = random_pick.random()
    if kind < 0.8:
        text = damaged(random_pick, [whole["record"].encode()], (*VALUES, *_NAMES, *_NAMES))
        whole["record"] = text.decode("utf-8", "replace")
    if kind > 0.7:
        group = random_pick.choice(("state", "state", "samples"))
        whole[group] = _damaged_tensors(random_pick, dict(whole[group]))
    buffer = io.BytesIO()
    torch.save(whole, buffer)
    data = bytearray(buffer.getvalue())
    if kind > 0.95:
        for _ in range(random_pick.choice((1, 2, 8))):
            data[random_pick.randrange(len(data))] = random_pick.randrange(256)
    return bytes(data)


def _damaged_tensors(random_pick: random.Random, tensors: dict[str, Any]) -> dict[str, Any]:
    name = random_pick.choice(list(tensors))
    tensor = tensors[name]
    action = random_pick.randrange(6)
    if action == 0:
        del tensors[name]
    elif action == 1:
        tensors[name + "x"] = tensors.pop(name)
    elif action == 2:
        tensors[name] = torch.zeros(1).expand(1 << 20, 1 << 20)  # 4 bytes with a declared size of 4 TiB
    elif action == 3:
        tensors[name] = tensor[:0] if tensor.ndim else tensor[None]
    elif action == 4:
        tensors[name] = tensor.to(random_pick.choice((torch.float64, torch.int8, torch.complex64, torch.bool)))
    else:
        tensors[name] = random_pick.choice((None, 1, "x", tensor.to_sparse() if tensor.ndim else 0, tensor * torch.nan))
    return tensors


def judge_checkpoint(path: Path) -> None:
    """Take the steps of `inspect`, `tune` and a training with it as teacher."""
    checkpoint = load_checkpoint(path)
    record, net = checkpoint.record, checkpoint.build()
    model_macs(record.spec, record.policy.score if record.policy else MAX_SOFTMAX)
    with torch.no_grad():
        net(*(checkpoint.samples[item.name][:2] for item in record.spec.inputs))


def judge_front(path: Path) -> None:
    """Take the steps of `train --from`."""
    actual = pick_candidate(read_front(path), "knee")
    model, config = trusted(actual, (), str(path))
    plan = ExitPlan(len(actual.taps), actual.branches or None, actual.taps)
    attach_exits(model, (1, 1, 8, 8), 3, plan, seed=0, config=config)


def judge(path: Path) -> str:
    """Return `read`, or the place that refused the file; raise any other exception."""
    before = set(sys.modules)
    try:
        judge_checkpoint(path) if path.suffix == ".pt" else judge_front(path)
    except EarlyExitError as refused:
        if refused.exit_code == 1:
            raise AssertionError(f"exit code 1: {refused.message!r}") from None
        return _place(refused.__traceback__)
    finally:
        if (set(sys.modules) - before) & set(CANARIES):
            raise AssertionError("a module was imported that only the file named")
    return "read"


def _place(trace: TracebackType | None) -> str:
    """Return file and line of the refusal, without the helpers that only raise."""
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name not in ("refuse", "_expect", "judge"):
            place = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def fuzz(runs: int, seed: int) -> dict[str, Any]:
    """Damage and read `runs` files, a fifth of them fronts, reproducibly by `seed`."""
    random_pick = random.Random(seed)
    places: Counter[str] = Counter()
    read: Counter[str] = Counter()
    actual: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stored, fronts = seeds(folder)
        for _ in range(runs):
            front = random_pick.random() < 0.2
            path = folder / ("front.json" if front else "damaged.pt")
            values = (*VALUES, *_NAMES)
            path.write_bytes(damaged(random_pick, fronts, values) if front else damaged_file(random_pick, stored))
            try:
                place = judge(path)
                read[path.name] += place == "read"
                places[place] += place != "read"
            except Exception as error:  # the very thing that is looked for
                where = "".join(traceback.format_tb(error.__traceback__)[-2:]).strip()
                text = path.read_text(errors="replace") if front else _record(path)
                actual.append({"error": f"{type(error).__name__}: {error}"[:300], "where": where, "input": text})
                if len(actual) == _MAX_FOUND:
                    break
    refused = places.total()
    return {
        "schema": "fuzz/1",
        "seed": seed,
        "runs": refused + read.total() + len(actual),
        "checkpoints_read": read["damaged.pt"],
        "fronts_read": read["front.json"],
        "refused": refused,
        "refused_at_places": len([place for place in places if places[place]]),
        "uncaught": actual,
    }


def _record(path: Path) -> str:
    try:
        return str(torch.load(path, weights_only=True)["record"])
    except Exception:  # its bytes are damaged
        return repr(path.read_bytes()[:2000])


def main() -> int:
    """Fuzz with the options of the command line and print the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    document = fuzz(options.runs, options.seed)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 1 if document["uncaught"] else 0


if __name__ == "__main__":
    sys.exit(main())
