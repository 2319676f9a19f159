"""Makes golden/*.tflite, the graphs that the LiteRT backend is held to: `python make_tflite.py`.

Needs litert-torch, which the tests of the runtime do not.
"""

from __future__ import annotations

from pathlib import Path

import litert_torch
import torch

GOLDEN = Path(__file__).parent / "golden"


class Contract(torch.nn.Module):
    """What `BackendContract.write` asks for, at batch 1."""

    def forward(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        total = tensors["ids"].to(torch.float32).sum(1)  # (1, 2) -> (1,)
        return {"scaled": tensors["x"] * tensors["factor"], "total": total}


class Weighted(torch.nn.Module):
    """The same from outside, with weights and an operator that the other one lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.tensor([[1.0, 0, 0], [0, 10.0, 0], [0, 0, 100.0]]))

    def forward(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        total = tensors["ids"].to(torch.float32).sum(1)  # (1, 2) -> (1,)
        return {"scaled": torch.relu(tensors["x"] @ self.table) * tensors["factor"], "total": total}


if __name__ == "__main__":
    example = {"x": torch.zeros(1, 3), "ids": torch.zeros(1, 2, dtype=torch.int64), "factor": torch.tensor(2.0)}
    GOLDEN.mkdir(exist_ok=True)
    for name, module in (("contract", Contract()), ("weighted", Weighted())):
        made = litert_torch.convert(module.eval(), sample_kwargs=example, enable_x64=True)
        made.export(str(GOLDEN / f"{name}.tflite"))
