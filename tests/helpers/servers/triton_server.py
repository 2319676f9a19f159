"""Triton as nvidia-pytriton brings it, for a repository of ONNX models.

    triton_server.py REPOSITORY HTTP_PORT GRPC_PORT

The package has Triton's server and its Python backend, not the one of ONNX Runtime. So the protocol is Triton's, and
the models run in this process. It runs in an environment of its own, without eetool.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnx_models import OnnxModel, open_models
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def infer_function(model: OnnxModel) -> Callable[[Any], Any]:
    """Return the function that PyTriton calls with the requests that wait."""
    return lambda requests: [model(dict(request.items())) for request in requests]


def main(repository: str, http_port: str, grpc_port: str) -> None:
    """Serve until the process is ended."""
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=int(http_port),
        grpc_address="127.0.0.1",
        grpc_port=int(grpc_port),
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        for name, model in open_models(Path(repository)):
            triton.bind(
                model_name=name,
                infer_func=infer_function(model),
                inputs=[Tensor(name=i.name, dtype=i.dtype, shape=i.shape) for i in model.inputs],
                outputs=[Tensor(name=o.name, dtype=o.dtype, shape=o.shape) for o in model.outputs],
                config=ModelConfig(batching=False),
            )
        triton.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
