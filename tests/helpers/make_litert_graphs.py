"""Program that writes litert_graphs/*.tflite for the tests of the LiteRT backend: `python make_litert_graphs.py`.

It needs litert-torch and eetool; the tests of the runtime do not.
"""

from __future__ import annotations

from pathlib import Path

import litert_torch
import torch

from eetool.graphs.tflite_combine import combine_tflite

GOLDEN = Path(__file__).parent / "litert_graphs"


class Contract(torch.nn.Module):
    """The graph of `BackendContract.write`, at batch 1, with ids of any integer type."""

    def forward(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        total = tensors["ids"].to(torch.float32).sum(1)  # (1, 2) -> (1,)
        return {"scaled": tensors["x"] * tensors["factor"], "total": total}


class Weighted(torch.nn.Module):
    """The same interface, with weights and another operator."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.tensor([[1.0, 0, 0], [0, 10.0, 0], [0, 0, 100.0]]))

    def forward(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        total = tensors["ids"].to(torch.float32).sum(1)  # (1, 2) -> (1,)
        return {"scaled": torch.relu(tensors["x"] @ self.table) * tensors["factor"], "total": total}


class Answer(torch.nn.Module):
    """A graph that reads the outputs of the others, and one of their inputs."""

    def forward(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = torch.relu(tensors["scaled"] - tensors["total"][:, None] + tensors["factor"])
        return {"logits": logits, "confidence": logits.sum(1)}  # (1, 3), (1,)


if __name__ == "__main__":
    example = {"x": torch.zeros(1, 3), "ids": torch.zeros(1, 2, dtype=torch.int64), "factor": torch.tensor(2.0)}
    GOLDEN.mkdir(exist_ok=True)
    outputs = {"scaled": torch.zeros(1, 3), "total": torch.zeros(1), "factor": torch.tensor(2.0)}
    for name, module, inputs in (
        ("contract", Contract(), example),
        ("weighted", Weighted(), example),
        ("answer", Answer(), outputs),
    ):
        converted = litert_torch.convert(module.eval(), sample_kwargs=inputs, enable_x64=True)
        converted.export(str(GOLDEN / f"{name}.tflite"))
    converted = litert_torch.convert(
        Contract().eval(), sample_kwargs={**example, "ids": example["ids"].to(torch.int32)}
    )
    converted.export(str(GOLDEN / "contract_int32.tflite"))
    for names in (("contract", "answer"), ("weighted", "contract")):
        combined = combine_tflite({name: GOLDEN / f"{name}.tflite" for name in names})
        (GOLDEN / f"{'_and_'.join(names)}.tflite").write_bytes(combined)
