"""A bundle as a model of KServe's Python server.

python -m eetool_runtime.contrib.kserve --model_name digits --model_dir digits.eebundle

Answers have `class`, `exit` and `confidence` for every input of the request, over REST and gRPC. `/metrics` has the
calls by exit.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from typing import Any, Optional

import kserve
from kserve.errors import InvalidInput
from kserve.utils.numpy_codec import from_np_dtype
from kserve.utils.utils import generate_uuid

from .. import load
from ..errors import InputError
from .answers import answer, describe_inputs, describe_outputs
from .metrics import MODELS


class KServeModel(kserve.Model):  # type: ignore[misc]
    """A served bundle.

    Args:
        name: of the model for clients.
        path: of the bundle.
        operating_point: by default that of the bundle.
        options: of `eetool_runtime.load`.
    """

    def __init__(self, name: str, path: str, operating_point: Optional[str] = None, **options: Any) -> None:
        super().__init__(name)
        self._path, self._point, self._options = path, operating_point, options

    def load(self) -> bool:
        """Load the bundle; raises EarlyExitError."""
        self._model = load(self._path, **self._options)
        if self._point is not None:
            self._model.use(self._point)
        MODELS.put(self.name, self._model)
        self.ready = True
        return True

    def stop(self) -> None:
        """End the service of this model."""
        MODELS.remove(self.name)
        super().stop()

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the inputs of the bundle."""
        return describe_inputs(self._model)

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the outputs of every answer."""
        return describe_outputs()

    async def predict(self, payload: Any, headers: Optional[Mapping[str, str]] = None) -> Any:
        """Answer a request of the Open Inference Protocol in a thread; raises InvalidInput."""
        if not isinstance(payload, kserve.InferRequest):
            raise InvalidInput("requests are those of the Open Inference Protocol, /v2/models/NAME/infer")
        try:
            arrays = {i.name: i.as_numpy() for i in payload.inputs}
            answers = await asyncio.to_thread(answer, self._model, arrays)
        except (InputError, ValueError) as error:  # ValueError: data that do not fill their shape
            raise InvalidInput(str(error)) from error
        outputs = []
        for name, array in answers.items():
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
    """Serve one bundle; options are KServe's and those below."""
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
    parser.add_argument("--model_dir", required=True, help="Folder of the bundle.")
    parser.add_argument("--operating_point", default=None, help="By default that of the bundle.")
    arguments = parser.parse_args()
    model = KServeModel(arguments.model_name, arguments.model_dir, arguments.operating_point)
    model.load()
    kserve.ModelServer().start([model])


if __name__ == "__main__":
    main()
