"""A bundle as a model of MLServer.

`implementation` of its model-settings.json is `eetool_runtime.contrib.mlserver.MLServerModel`, `uri` of its parameters
the bundle, and `operating_point` of their `extra` one of the bundle's. Answers have `class`, `exit` and `confidence`
for every input of the request. Metrics by exit need `"parallel_workers": 0` in settings.json: from parallel workers
MLServer collects counters of its own kind only.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.utils import get_model_uri

from .. import load
from ..errors import InputError
from .answers import answer, describe_inputs, describe_outputs
from .metrics import MODELS

_LOGGER = logging.getLogger("eetool_runtime")


class MLServerModel(MLModel):  # type: ignore[misc]
    """A served bundle."""

    inputs: Any  # as in the base class, whose types a checker sees only where MLServer is installed
    outputs: Any

    async def load(self) -> bool:
        """Load the bundle; raises EarlyExitError."""
        self._model = load(await get_model_uri(self._settings))
        extra = self._settings.parameters.extra or {}
        if "operating_point" in extra:
            self._model.use(extra["operating_point"])
        described: Any = self  # properties of the base class
        described.inputs = described.inputs or [
            types.MetadataTensor(**tensor) for tensor in describe_inputs(self._model)
        ]
        described.outputs = described.outputs or [types.MetadataTensor(**tensor) for tensor in describe_outputs()]
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            _LOGGER.warning("%s: metrics by exit are not shown with parallel workers", self.name)
        MODELS.put(self.name, self._model)
        return True

    async def unload(self) -> bool:
        """End the service of this model."""
        MODELS.remove(self.name)
        return True

    async def predict(self, payload: Any) -> Any:
        """Answer a request in a thread; raises InferenceError, which clients see as a bad request."""
        try:
            arrays = {i.name: NumpyCodec.decode_input(i) for i in payload.inputs}
            answers = await asyncio.to_thread(answer, self._model, arrays)
        except (InputError, ValueError) as error:  # ValueError: data that do not fill their shape
            raise InferenceError(str(error)) from error
        outputs = [NumpyCodec.encode_output(name, array) for name, array in answers.items()]
        for output, array in zip(outputs, answers.values()):
            output.shape = list(array.shape)  # the codec makes (N, 1) of (N,)
        return types.InferenceResponse(model_name=self.name, outputs=outputs)
