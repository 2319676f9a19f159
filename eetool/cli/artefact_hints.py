"""Messages for a file or folder that is not what a command takes: what it is, and the command to type."""

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from eetool import artefact_kinds as kinds

if TYPE_CHECKING:
    from eetool.artefact_kinds import Artefact
    from eetool.errors import ArtefactError

PROFILE, SEARCH, HW_PROFILE, LINK = "profile/", "search/", "hw_profile/", "link/"
REPORTED = ("bench/", PROFILE, "predict/", "train/", "tune/", SEARCH)

# Words for the kinds of files that commands take.
WANTED = {
    kinds.BUNDLE: "a bundle",
    kinds.CHECKPOINT: "a model.pt",
    kinds.ONNX: "an ONNX file",
    kinds.WEIGHTS: "a file of weights",
    kinds.SUPERNET: "shared weights of a search",
    kinds.IMAGE: "images",
    PROFILE: "a document of `eetool profile`",
    LINK: "a document of `eetool profile --link`",
    SEARCH: "a front of `eetool search`",
    HW_PROFILE: "a hw profile",
}
_DESCRIPTIONS = {
    kinds.BUNDLE: "is a bundle",
    kinds.CHECKPOINT: "is a model.pt of `eetool train`",
    kinds.SUPERNET: "holds the shared weights of a search",
    kinds.RESUME: "is the state of an interrupted training",
    kinds.WEIGHTS: "holds weights, and not the network that they belong to",
    kinds.TORCHSCRIPT: "is a TorchScript program",
    kinds.KERAS: "is an HDF5 file, as of Keras",
    kinds.ONNX: "is an ONNX file",
    kinds.TFLITE: "is a TFLite file",
    kinds.IMAGE: "is an image",
    kinds.NPY: "is one NumPy array",
    kinds.NPZ: "is an archive of NumPy arrays",
    kinds.TABLE: "is a table of text",
    kinds.TEXT: "is a text",
    kinds.PYTHON: "is a Python file",
    kinds.ARCHIVE: "is a packed archive",
    kinds.MANIFEST_FILE: "is the manifest inside a bundle",
    kinds.JSON: "is JSON, and no document of eetool",
    kinds.BUNDLES: "is a folder with a bundle inside it",
    kinds.CHECKPOINTS: "is a folder with a model.pt inside it",
    kinds.IMAGES: "is a folder of images",
    kinds.FOLDER: "is a folder without models, bundles or images",
    HW_PROFILE: "is a hw profile",
    "predict/": "is a document of `eetool estimate`",
    "machine/": "is a document of `eetool profile` without a bundle",
}
# The command that makes what is wanted of what is given.
_CONVERSIONS = {
    (kinds.CHECKPOINT, kinds.BUNDLE): "`eetool export {path}` makes its bundle; then `eetool {verb} {bundle}`.",
    (kinds.BUNDLES, kinds.BUNDLE): "Give the bundle: `eetool {verb} {inner}`.",
    (kinds.MANIFEST_FILE, kinds.BUNDLE): "Give the bundle: `eetool {verb} {folder}`.",
    (kinds.CHECKPOINTS, kinds.CHECKPOINT): "Give the model: `eetool {verb} {inner}`.",
    (kinds.CHECKPOINTS, kinds.BUNDLE): "`eetool export {inner}` makes a bundle of its model.",
    (kinds.BUNDLE, kinds.CHECKPOINT): "A bundle is exported already: `eetool run {path} IMAGE` runs it. "
    "`eetool {verb} model.pt` takes the model that it was made from.",
}
# Otherwise: the command for what is given.
_USES = {
    kinds.BUNDLE: "`eetool run {path} IMAGE` runs it, `eetool bench {path} --data SOURCE` measures it.",
    kinds.CHECKPOINT: "`eetool tune {path} --data SOURCE` and `eetool export {path}` are its next steps.",
    kinds.SUPERNET: "`eetool search --space SPACE --data SOURCE --supernet {path}` uses them.",
    kinds.RESUME: "The same `eetool train` command with --resume continues it.",
    kinds.WEIGHTS: "Your code builds the network: `eetool train PACKAGE.MODULE:FACTORY --weights {path} --data SOURCE` "
    "makes a model.pt; with --epochs 0 the weights stay as they are.",
    kinds.TORCHSCRIPT: "eetool needs the code of the network: save torch.jit.load(FILE).state_dict() with torch.save, "
    "then `eetool train PACKAGE.MODULE:FACTORY --weights FILE --data SOURCE`.",
    kinds.KERAS: "eetool trains networks of PyTorch: `eetool train PACKAGE.MODULE:FACTORY --data SOURCE`.",
    kinds.ONNX: "`eetool estimate {path} --device rpi4` predicts its latency, and "
    "`eetool bench BUNDLE --data SOURCE --against {path}` compares a bundle with it. Exits need its PyTorch network: "
    "`eetool train PACKAGE.MODULE:FACTORY --data SOURCE`.",
    kinds.TFLITE: "Exits need its PyTorch network: `eetool train PACKAGE.MODULE:FACTORY --data SOURCE`, then "
    "`eetool export model.pt --format tflite`.",
    kinds.IMAGE: "`eetool run BUNDLE {path}` classifies it. Images to train on lie in a folder for each class: "
    "`eetool train MODEL --data folder:DIR`.",
    kinds.NPY: "`eetool run BUNDLE {path}` classifies it. Data to train on are `eetool train MODEL --data npz:FILE`.",
    kinds.NPZ: "Data are given as `eetool train MODEL --data npz:{path}`.",
    kinds.TABLE: "Texts are given as `eetool train text-tiny --data tsv:{path}`.",
    kinds.TEXT: "`eetool run BUNDLE {path}` classifies its lines, where the model reads texts.",
    kinds.PYTHON: "A network in it is given by its factory: `eetool train {module}:FACTORY --data SOURCE`.",
    kinds.ARCHIVE: "Unpack it first; then for example `eetool train MODEL --data folder:DIR`.",
    kinds.MANIFEST_FILE: "`eetool inspect {folder}` shows it.",
    kinds.JSON: "`eetool report` and others take documents that a command wrote with -o or --json, such as "
    "`eetool bench BUNDLE --data SOURCE -o bench.json`.",
    kinds.BUNDLES: "`eetool inspect {inner}` shows the bundle in it.",
    kinds.CHECKPOINTS: "`eetool inspect {inner}` shows the model in it.",
    kinds.IMAGES: "`eetool train MODEL --data folder:{path}` trains on them, with a folder for each class.",
    HW_PROFILE: "`eetool estimate BUNDLE --device {path}` predicts from it; `eetool devices {path}` shows it.",
    LINK: "`eetool tune BUNDLE --data SOURCE --profile p.json --link {path}` tunes by it.",
    PROFILE: "`eetool tune MODEL --data SOURCE --profile {path}` tunes by its times; `eetool report {path}` shows it.",
    SEARCH: "`eetool train --from {path} --data SOURCE` trains a network of it; `eetool report {path}` shows it.",
    **dict.fromkeys(("bench/", "predict/", "train/", "tune/"), "`eetool report {path}` shows it."),
}
# The command that makes what is wanted, where what is given is of no use.
_MAKERS = {
    kinds.BUNDLE: "`eetool export model.pt` makes a bundle.",
    kinds.CHECKPOINT: "`eetool train MODEL --data SOURCE -o model.pt` makes one.",
    kinds.ONNX: "`eetool export model.pt --layout single` makes an ONNX file.",
    kinds.WEIGHTS: "`eetool train MODEL --weights FILE` takes safetensors, a state dict of torch.save, or a model.pt.",
    kinds.SUPERNET: "`eetool search --space SPACE --data SOURCE --trials 0 --supernet FILE` trains them.",
    kinds.IMAGE: "`eetool run BUNDLE FILE…` takes images, .npy arrays and .txt files of texts.",
    "bench/": "`eetool bench BUNDLE --data SOURCE -o bench.json` writes a document to show.",
    PROFILE: "`eetool profile BUNDLE -o profile.json` makes one.",
    LINK: "`eetool profile BUNDLE --link URL -o link.json` makes one.",
    SEARCH: "`eetool search --space SPACE --data SOURCE -o search.front.json` makes one.",
    HW_PROFILE: "`eetool devices` lists the known devices; `eetool table build -o my.json` makes a hw profile.",
}


def check_artefact(path: Path, wanted: Collection[str], verb: str, takes: str = "") -> None:
    """Check the kind of a file or folder before it is read; UNKNOWN is left to the code that reads it.

    Args:
        path: as the user gave it.
        wanted: kinds that the command takes, the usual one first.
        verb: the command, such as `run`.
        takes: words for what it takes, by default those of `wanted`.

    Raises:
        ArtefactError: it is missing, or of another kind.
    """
    artefact = kinds.identify(path)
    if artefact.kind not in (*wanted, kinds.UNKNOWN):
        raise wrong_artefact(artefact, tuple(wanted), verb, takes)


def wrong_artefact(artefact: "Artefact", wanted: tuple[str, ...], verb: str, takes: str = "") -> "ArtefactError":
    """Return the error for an artefact of another kind than `wanted`."""
    from eetool.errors import ArtefactError

    if artefact.kind == kinds.MISSING:
        return ArtefactError(f"{artefact.path}: does not exist", _missing_hint(artefact.path, wanted))
    words = [WANTED[kind] for kind in wanted if kind in WANTED]
    takes = takes or " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    return ArtefactError(f"{artefact.path}: {describe(artefact)}; {verb} takes {takes}", _hint(artefact, wanted, verb))


def describe(artefact: "Artefact") -> str:
    """Return the words for an artefact, such as `is a bundle`."""
    command = artefact.kind.removesuffix("/")
    return _DESCRIPTIONS.get(artefact.kind) or f"is a document of `eetool {command}`"


def use_of(artefact: "Artefact") -> str | None:
    """Return the commands that an artefact is for."""
    text = _USES.get(artefact.kind)
    return None if text is None else _filled(text, artefact, "")


def _hint(artefact: "Artefact", wanted: tuple[str, ...], verb: str) -> str:
    conversions = [_CONVERSIONS[artefact.kind, kind] for kind in wanted if (artefact.kind, kind) in _CONVERSIONS]
    text = conversions[0] if conversions else _USES.get(artefact.kind) or _MAKERS[wanted[0]]
    return _filled(text, artefact, verb)


def _filled(text: str, artefact: "Artefact", verb: str) -> str:
    path = artefact.path
    return text.format(
        path=shlex.quote(str(path)),
        verb=verb,
        bundle=shlex.quote(str(path.with_suffix(kinds.BUNDLE_SUFFIX))) if path.name else path,
        folder=shlex.quote(str(path.parent)),
        inner=shlex.quote(str(artefact.inner)),
        module=path.stem,
    )


def _missing_hint(path: Path, wanted: tuple[str, ...]) -> str:
    from eetool_runtime.near_names import near_names

    try:
        near = near_names(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        near = []
    names = " or ".join(str(path.parent / name) for name in near)
    return f"Did you mean {names}? {_MAKERS[wanted[0]]}" if near else _MAKERS[wanted[0]]
