"""A model of Triton's Python backend that runs the model.onnx beside it."""

from pathlib import Path
from typing import Any

import triton_python_backend_utils as utils
from onnx_models import OnnxModel


class TritonPythonModel:
    """An ONNX model behind Triton."""

    def initialize(self, arguments: dict[str, str]) -> None:
        self._model = OnnxModel(Path(__file__).with_name("model.onnx"))

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            arrays = self._model({tensor.name(): tensor.as_numpy() for tensor in request.inputs()})
        except Exception as error:
            return utils.InferenceResponse([], utils.TritonError(str(error)))
        return utils.InferenceResponse([utils.Tensor(name, array) for name, array in arrays.items()])
