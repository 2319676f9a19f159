"""Classifiers of the transformers library, where it is installed: from a configuration to a bundle that is proved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eetool.errors import ArtefactError, UsageError
from eetool.export.bundle_export import ExportOptions, export_bundle
from eetool.model.checkpoint import load_checkpoint, save_checkpoint
from eetool.model.references import resolve
from eetool.train.exit_plan import ExitPlan
from eetool.train.pipeline import attach_exits
from eetool_runtime import load

pytest.importorskip("transformers", reason="an optional package")
pytestmark = pytest.mark.filterwarnings("ignore")

WIDTHS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
BERT = {"model_type": "bert", "vocab_size": 50, "max_position_embeddings": 20, **WIDTHS}
SWIN = {
    **{"model_type": "swin", "image_size": 16, "patch_size": 2, "embed_dim": 8},
    **{"depths": [2, 2], "num_heads": [2, 2], "window_size": 4},
}


def write(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


def test_export_text_model_runs_without_transformers(tmp_path: Path) -> None:
    path = write(tmp_path, BERT)
    made = attach_exits(f"hf:{tmp_path}", (1, 8), 3, ExitPlan(1), seed=0)
    save_checkpoint(tmp_path / "model.pt", made)
    path.unlink()
    checkpoint = load_checkpoint(tmp_path / "model.pt")
    assert checkpoint.record.spec.backbone == "hf:bert"
    assert checkpoint.record.spec.branches == ("cls",)
    assert (checkpoint.samples["attention_mask"] == 0).any()
    export_bundle(checkpoint, tmp_path / "b.eebundle", ExportOptions(references=False))
    model = load(tmp_path / "b.eebundle")
    row = {name: x[3:4].numpy() for name, x in checkpoint.samples.items()}
    with torch.no_grad():
        expected = checkpoint.build()(*(torch.from_numpy(x) for x in row.values()))[-1]
    assert np.allclose(model(row).logits, expected.numpy(), atol=1e-4)


def test_split_graph_attention_windows_compute_what_the_network_computes(tmp_path: Path) -> None:
    made = attach_exits(f"hf:{write(tmp_path, SWIN)}", None, 3, ExitPlan(1), seed=0)
    assert made.record.spec.branches == ("linear",), "it classifies by the mean of its tokens"
    manifest = export_bundle(made, tmp_path / "b.eebundle", ExportOptions(references=False)).manifest
    assert [component.name for component in manifest.components] == ["seg0", "exit0", "exit1"]


def test_checkpoint_record_of_a_transformer_is_plain_and_small(tmp_path: Path) -> None:
    labels = {"id2label": {str(i): "x" for i in range(3)}}
    found = resolve.resolve(f"hf:{write(tmp_path, {**BERT, **labels})}")
    assert found.classes == 3
    assert found.config is not None
    assert set(found.config) <= {*BERT, "transformers_version"}
    assert dict(found.limits) == {"input_ids": 50, "attention_mask": 2}


def test_resolve_image_model_has_the_requested_size() -> None:
    found = resolve.resolve("hf:vit", (1, 1, 64, 64), 5)
    assert found.config is not None
    assert (found.config["image_size"], found.config["num_channels"]) == (64, 1)


@pytest.mark.parametrize(
    ("config", "shape", "error", "reason"),
    [
        (BERT, (1, 3, 32, 32), UsageError, "takes text as token ids, not inputs of shape 1x3x32x32"),
        (BERT, (1, 21), UsageError, "takes at most 20 tokens, not 21"),
        (SWIN, (1, 16), UsageError, "takes images, not inputs of shape 1x16"),
        ({"hidden_size": 16}, None, ArtefactError, "names no model_type"),
        ({"model_type": "no-such-type"}, None, UsageError, "no image, text or audio classifier of type 'no-such-type'"),
    ],
)
def test_resolve_invalid_configuration_raises(
    config: dict[str, Any], shape: tuple[int, ...] | None, error: type[Exception], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=reason):
        resolve.resolve(f"hf:{write(tmp_path, config)}", shape, 3)
