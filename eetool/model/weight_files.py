"""Files of weights, read without running anything in them: safetensors, and what torch.save has written."""

import re
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from eetool.errors import ArtefactError
from eetool.records import open_regular

HINT = "A safetensors file, a state dict saved by torch.save, or a model.pt is needed."
_OBJECTS_HINT = "Save its tensors alone: torch.save(model.state_dict(), FILE)."
# First bytes of files that are often mistaken for weights, at their offset.
_OTHERS = (
    (0, b"\x89HDF", "an HDF5 file, as of Keras", HINT),
    (4, b"TFL3", "a TFLite file, which has no names of modules", HINT),
    (0, b"GGUF", "a GGUF file", HINT),
    (0, b"\x93NUMPY", "one NumPy array", HINT),
    (0, b"version https://git-lfs", "the pointer of Git LFS to a file that was not fetched", "`git lfs pull` gets it."),
)
_HEAD = 64  # bytes that tell the kind


def read_weights_file(path: Path) -> Any:
    """Return what a file of weights holds: tensors, mostly in nested dictionaries.

    Raises:
        ArtefactError: it cannot be read, or is a file of another kind; the message names the kind where it is known.
    """
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD)
            _refuse_others(path, head, file)
        if head[8:9] == b"{":  # safetensors: the length of the header, and then the header, which is JSON
            from safetensors.torch import load_file

            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats of tensors, which are read or refused all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except ArtefactError:
        raise
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # torch, zipfile and safetensors raise many unrelated types
        found = re.search(r"GLOBAL ([\w.]+)", str(error))  # torch names the first class that it refuses
        if found is None:
            raise ArtefactError(f"{path}: holds no tensors that can be read safely", HINT) from error
        reason = f"holds Python objects ({found[1]}) and not tensors alone, so reading it could run code"
        raise ArtefactError(f"{path}: {reason}", _OBJECTS_HINT) from None


def _refuse_others(path: Path, head: bytes, file: IO[bytes]) -> None:
    """Raise ArtefactError for a file of a known kind that holds no named tensors of a torch module."""
    if path.suffix == ".onnx":
        raise ArtefactError(f"{path}: is an ONNX file, whose weights have no names of modules", HINT)
    for offset, magic, kind, hint in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            raise ArtefactError(f"{path}: is {kind}", hint)
    if head.startswith(b"PK"):
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in names):
            hint = "Save its tensors: torch.save(torch.jit.load(FILE).state_dict(), OTHER)."
            raise ArtefactError(f"{path}: is a TorchScript program", hint)
        if names and all(name.endswith(".npy") for name in names):
            raise ArtefactError(f"{path}: is an archive of NumPy arrays", HINT)
