"""Makes golden/contract.tflite, the graph that the LiteRT backend is held to: `python make_tflite.py`.

Needs litert-torch, which the tests of the runtime do not.
"""

from __future__ import annotations

from pathlib import Path

import litert_torch
import torch

GOLDEN = Path(__file__).parent / "golden" / "contract.tflite"


class Contract(torch.nn.Module):
    """What `BackendContract.write` asks for, at batch 1."""

    def forward(self, **tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        total = tensors["ids"].to(torch.float32).sum(1)  # (1, 2) -> (1,)
        return {"scaled": tensors["x"] * tensors["factor"], "total": total}


if __name__ == "__main__":
    example = {"x": torch.zeros(1, 3), "ids": torch.zeros(1, 2, dtype=torch.int64), "factor": torch.tensor(2.0)}
    GOLDEN.parent.mkdir(exist_ok=True)
    litert_torch.convert(Contract().eval(), sample_kwargs=example, enable_x64=True).export(str(GOLDEN))
