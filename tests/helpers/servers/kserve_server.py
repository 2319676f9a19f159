"""KServe's Python server for a repository of ONNX models: kserve_server.py REPOSITORY HTTP_PORT GRPC_PORT.

It runs in an environment of its own, without eetool. --delay-ms lets every answer wait.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import kserve
from kserve.errors import InvalidInput
from kserve.utils.numpy_codec import from_np_dtype
from kserve.utils.utils import generate_uuid
from onnx_models import OnnxModel, open_models


class ServedModel(kserve.Model):
    """An ONNX model behind KServe."""

    def __init__(self, name: str, model: OnnxModel, delay_ms: float) -> None:
        super().__init__(name)
        self._model, self._delay_s = model, delay_ms / 1000
        self.ready = True

    async def predict(self, payload: kserve.InferRequest, headers: Any = None) -> kserve.InferResponse:
        await asyncio.sleep(self._delay_s)
        try:
            arrays = self._model({i.name: i.as_numpy() for i in payload.inputs})
        except Exception as error:
            raise InvalidInput(str(error)) from error
        outputs = []
        for name, array in arrays.items():
            outputs.append(kserve.InferOutput(name, list(array.shape), from_np_dtype(array.dtype)))
            outputs[-1].set_data_from_numpy(array)
        return kserve.InferResponse(
            payload.id or generate_uuid(),
            self.name,
            outputs,
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("repository", type=Path)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    models = [ServedModel(name, model, arguments.delay_ms) for name, model in open_models(arguments.repository)]
    kserve.ModelServer().start(models)


if __name__ == "__main__":
    main()
