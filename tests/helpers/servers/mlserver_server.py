"""MLServer for a repository of ONNX models: mlserver_server.py REPOSITORY HTTP_PORT GRPC_PORT.

It runs in an environment of its own, without eetool. Its binary tensors are those of gRPC; over REST it has JSON only.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from onnx_models import OnnxModel


class ServedModel(MLModel):
    """An ONNX model behind MLServer."""

    async def load(self) -> bool:
        self._model = OnnxModel(Path(self._settings.parameters.extra["path"]))
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        try:
            arrays = self._model({i.name: NumpyCodec.decode_input(i) for i in payload.inputs})
        except Exception as error:
            raise InferenceError(str(error)) from error
        outputs = [NumpyCodec.encode_output(name, array) for name, array in arrays.items()]
        for output, array in zip(outputs, arrays.values(), strict=True):
            output.shape = list(array.shape)  # the codec makes (N, 1) of (N,)
        return types.InferenceResponse(model_name=self.name, outputs=outputs)


def main(repository: str, http_port: str, grpc_port: str) -> None:
    """Write MLServer's settings, and become MLServer."""
    folder = Path(tempfile.mkdtemp())
    settings: dict[str, Any] = {"parallel_workers": 0, "host": "127.0.0.1", "metrics_endpoint": None}
    settings.update({"http_port": int(http_port), "grpc_port": int(grpc_port)})
    (folder / "settings.json").write_text(json.dumps(settings))
    for path in sorted(Path(repository).glob("*/1/model.onnx")):
        name = path.parents[1].name
        (folder / name).mkdir()
        model = {"name": name, "implementation": "mlserver_server.ServedModel"}
        model["parameters"] = {"extra": {"path": str(path.absolute())}}
        (folder / name / "model-settings.json").write_text(json.dumps(model))
    scripts = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "mlserver.cli.main", "start", str(folder)]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": scripts})


if __name__ == "__main__":
    main(*sys.argv[1:])
