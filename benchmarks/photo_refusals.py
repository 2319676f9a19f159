"""Wrong input on the way of `photos.py`, and what `eetool` answered."""

import shutil
from dataclasses import dataclass

from photo_models import DATA, FULL_SIZE, LITE0
from photo_steps import Folder, Step

_FEW, _LEFT_OUT = 12, "trash"


@dataclass(frozen=True)
class Refusal:
    """A case of wrong input and the step that met it."""

    case: str
    step: Step


def refusals(folder: Folder, other_weights: str) -> list[Refusal]:
    """Return the answers to wrong input.

    Args:
        folder: the folder of results, with the static networks.
        other_weights: file of weights of another architecture than EfficientNet-Lite0.
    """
    _write_fewer_classes(folder)
    small = ("--data", "folder:fewer-classes@32", "--epochs", 0, "--exits", 0)
    folder.make("fewer-classes.pt", "train", "resnet8", *small)
    small_network, big_network = "mobilenetv1-0.25-128.pt", f"{FULL_SIZE}.pt"
    cases = {
        "members with different classes": ("cascade", "fewer-classes.pt", big_network),
        "a size that the bundle does not take": ("bench", f"{FULL_SIZE}.eebundle", "--data", f"{DATA}@128"),
        "a size that the model does not take": ("tune", big_network, "--data", f"{DATA}@128"),
        "a member that is never reached": ("cascade", big_network, small_network, "--data", DATA),
        "weights of another architecture": ("train", LITE0, "--weights", other_weights, "--data", f"{DATA}@224"),
    }
    codes = range(256)
    return [
        Refusal(case, folder.run(f"refused-{number}", *arguments, *_output(arguments[0]), codes=codes))
        for number, (case, arguments) in enumerate(cases.items())
    ]


def answer(refusal: Refusal) -> str:
    """Return what a command said: its error with the hint, else the networks that it found unused, and its notes."""
    error = refusal.step.document.get("error")
    if error:
        return " ".join(filter(None, (error["message"], error["hint"])))
    unused = (refusal.step.document.get("fit") or {}).get("unused", [])
    return " ".join([*(f"no example leaves at {file}" for file in unused), *refusal.step.notes])


def _output(verb: str) -> tuple[str, ...]:
    return ("-o", "refused.pt", "--force") if verb in ("train", "cascade", "tune") else ()


def _write_fewer_classes(folder: Folder) -> None:
    """Write a few photographs of all classes but one."""
    target = folder.path / "fewer-classes"
    if target.exists():
        return
    unfinished = target.with_name("fewer-classes.partial")
    for place in (folder.path / "photographs").glob("*/*"):
        if place.name != _LEFT_OUT:
            own = unfinished / place.relative_to(folder.path / "photographs")
            own.mkdir(parents=True, exist_ok=True)
            for photograph in sorted(place.iterdir())[:_FEW]:
                shutil.copyfile(photograph, own / photograph.name)
    unfinished.rename(target)
