"""Classifiers of the transformers library, built from a configuration without network access: `hf:NAME_OR_CONFIG`.

The name is a model type (`hf:vit`, with its default configuration), a `config.json`, or a folder with one in it. Fields
that a file leaves out have the defaults of its `model_type`. A checkpoint holds the differences from the defaults.
"""

import json
from pathlib import Path
from typing import Any

from torch import nn

from eetool.errors import ArtefactError, EarlyExitError, MissingError, UsageError
from eetool.model.references import hf_schema
from eetool.model.references.reference import ModelReference, Shape, first_line, float_input, import_library
from eetool.records import read_text
from eetool_runtime.manifest import BATCH, Input
from eetool_runtime.records import Refuse, parse_json

_TASKS = ("image", "text", "audio")
_AUTO = {
    "image": "AutoModelForImageClassification",
    "text": "AutoModelForSequenceClassification",
    "audio": "AutoModelForAudioClassification",
}
_MAPPINGS = {
    "image": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "text": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "audio": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
}
_NOT_KEPT = (
    *("id2label", "label2id", "_name_or_path", "name_or_path", "architectures", "dtype", "torch_dtype"),
    "task_specific_params",
)
_VERSION = "transformers_version"
_TEXT_LENGTH = 128  # tokens
_IMAGE_SIDE = 224  # pixels
_AUDIO_LENGTH = 16000  # samples: a second at 16 kHz


def resolve(
    name: str, shape: Shape | None, classes: int | None, config: dict[str, Any] | None = None
) -> ModelReference:
    """Resolve a model type or configuration: fit it to the shape and the classes, and name its inputs.

    Args:
        name: model type, or path of a configuration.
        shape: shape of the input, with a batch dimension.
        classes: number of classes.
        config: differences from the defaults of the type `name`; None to read them from the path `name`.

    Raises:
        UsageError: transformers has no such classifier, or the shape or configuration does not fit it.
        ArtefactError: the configuration cannot be read.
        MissingError: transformers is not installed, or broken.
    """
    kind, overrides = _read(name) if config is None else (name, config)
    task = _task(kind)
    full = _config(kind, overrides, classes)
    if task == "image":
        shape = shape or _image_shape(full)
        full = _config(kind, {**overrides, **_image_size(full, shape)}, classes)
    inputs, limits = _inputs(task, full, shape)
    kept = _differences(full)
    hint = "A model.pt keeps numbers and words of a configuration only."
    check_config(kind, kept, lambda reason: UsageError(reason, hint))
    return ModelReference(f"hf:{kind}", inputs, classes or full.num_labels, kept, limits)


def check_config(kind: str, config: dict[str, Any], refuse: Refuse) -> None:
    """Check a configuration that stands in a file: fields that the type has, each with a plain value of its kind.

    Words are names, never paths or addresses: nothing is read from a disk or a network for them.
    """
    _task(kind)
    config = {key: value for key, value in config.items() if key != _VERSION}
    hf_schema.check_fields(config, _as_json(_transformers().AutoConfig.for_model(kind)), f"hf:{kind}", refuse)


def build(kind: str, inputs: tuple[Input, ...], classes: int, config: dict[str, Any]) -> nn.Module:
    """Build the classifier. It takes its inputs in order and returns logits; its modules keep the library's names."""
    full = _config(kind, config, classes)
    full.architectures = []  # transformers then takes the first of several classifiers; with None it does not
    auto = getattr(_transformers(), _AUTO[_task(kind)])
    try:
        model: nn.Module = auto.from_config(full)
    except ImportError as error:  # transformers imports a model's module late, and torchvision with some of them
        reason = first_line(error.__cause__ or error)
        raise MissingError(
            f"hf:{kind} needs a package that is missing or broken: {reason}", "Install it again."
        ) from error
    except EarlyExitError:
        raise
    except Exception as error:  # models raise any type for an invalid configuration
        raise UsageError(f"hf:{kind} cannot be built from its configuration: {first_line(error)}") from error
    names = tuple(i.name for i in inputs)
    model.register_forward_pre_hook(
        lambda _, args, kwargs: ((), {**dict(zip(names, args, strict=False)), **kwargs}), with_kwargs=True
    )
    return model


def _transformers() -> Any:
    return import_library("transformers", "pip install transformers")


def _read(name: str) -> tuple[str, dict[str, Any]]:
    """Return the model type of `name`, and its differences from the defaults."""
    path = Path(name)
    if path.is_dir():
        path = path / "config.json"
    if path.suffix != ".json" and not path.exists():
        return name, {}

    def refuse(reason: str) -> ArtefactError:
        return ArtefactError(f"{path}: {reason}", "A config.json of transformers names its model_type.")

    overrides = parse_json(read_text(path), refuse)
    kind = overrides.pop("model_type", None) if isinstance(overrides, dict) else None
    if not isinstance(kind, str):
        raise refuse("it names no model_type")
    return kind, overrides


def _task(kind: str) -> str:
    """Return the kind of input that `kind` classifies; raises UsageError where transformers has no such classifier."""
    _transformers()
    auto = import_library("transformers.models.auto.modeling_auto", "pip install transformers")
    for task in _TASKS:
        if kind in getattr(auto, _MAPPINGS[task]):
            return task
    raise UsageError(
        f"transformers has no image, text or audio classifier of type {kind!r}",
        "Give a model type such as hf:vit or hf:bert, or the path of a config.json.",
    )


def _config(kind: str, overrides: dict[str, Any], classes: int | None) -> Any:
    labels = {} if classes is None else {"num_labels": classes}
    dropped = (*_NOT_KEPT, _VERSION) if classes is not None else ("_name_or_path", _VERSION)
    kept = {key: value for key, value in overrides.items() if key not in dropped}
    try:
        return _transformers().AutoConfig.for_model(kind, **{**kept, **labels})
    except Exception as error:  # configurations validate themselves, with errors of any type
        raise UsageError(f"hf:{kind}: the configuration is invalid: {first_line(error)}") from error


def _differences(config: Any) -> dict[str, Any]:
    """Return the differences from the defaults of the model type as JSON; the checkpoint's record holds the labels."""
    defaults = _as_json(_transformers().AutoConfig.for_model(config.model_type))
    changed = {key: value for key, value in _as_json(config).items() if key in defaults and defaults[key] != value}
    version = {_VERSION: str(_transformers().__version__)}  # the version that the defaults belong to
    return {**{key: value for key, value in changed.items() if key not in _NOT_KEPT}, **version}


def _as_json(config: Any) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return fields


def _image_shape(config: Any) -> Shape:
    side = getattr(config, "image_size", _IMAGE_SIDE) or _IMAGE_SIDE
    height, width = side if isinstance(side, (list, tuple)) else (side, side)
    return 1, getattr(config, "num_channels", 3), height, width


def _image_size(config: Any, shape: Shape) -> dict[str, Any]:
    """Return the fields of a configuration that follow from the input shape."""
    if len(shape) != 4:
        raise UsageError(
            f"hf:{config.model_type} takes images, not inputs of shape {_show(shape)}", "Such as 1x3x224x224."
        )
    fields: dict[str, Any] = {}
    if hasattr(config, "num_channels"):
        fields["num_channels"] = shape[1]
    if getattr(config, "image_size", None) is not None and tuple(_image_shape(config)[2:]) != shape[2:]:
        fields["image_size"] = shape[2] if shape[2] == shape[3] else list(shape[2:])
    return fields


def _inputs(task: str, config: Any, shape: Shape | None) -> tuple[tuple[Input, ...], dict[str, int]]:
    if task == "text":
        return _text_inputs(config, shape)
    if task == "image":
        assert shape is not None
        return float_input("pixel_values", shape), {}
    bands = getattr(config, "num_mel_bins", None)
    frames = getattr(config, "max_length", None) or getattr(config, "max_source_positions", 0) * 2
    name = _main_input(config)
    default: Shape = (1, _AUDIO_LENGTH)
    if bands and frames:
        default = (1, bands, frames) if name == "input_features" else (1, frames, bands)
    return float_input(name, shape or default), {}


def _main_input(config: Any) -> str:
    auto = getattr(_transformers(), _AUTO["audio"])
    name: str = auto._model_mapping[type(config)].main_input_name
    return name


def _text_inputs(config: Any, shape: Shape | None) -> tuple[tuple[Input, ...], dict[str, int]]:
    text = config.get_text_config()
    longest = getattr(text, "max_position_embeddings", None) or _TEXT_LENGTH
    shape = shape or (1, min(_TEXT_LENGTH, longest))
    if len(shape) != 2:
        raise UsageError(
            f"hf:{config.model_type} takes text as token ids, not inputs of shape {_show(shape)}",
            "Give one sequence length, such as 1x128.",
        )
    if shape[1] > longest:
        raise UsageError(
            f"hf:{config.model_type} takes at most {longest} tokens, not {shape[1]}", "Give shorter inputs."
        )
    ids = Input("input_ids", "int64", (BATCH, shape[1]))
    mask = Input("attention_mask", "int64", (BATCH, shape[1]))
    return (ids, mask), {ids.name: text.vocab_size, mask.name: 2}


def _show(shape: Shape) -> str:
    return "x".join(map(str, shape))
