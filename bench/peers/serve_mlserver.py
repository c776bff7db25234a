"""Runtimes of MLServer, named in the settings that the benchmark writes."""

from __future__ import annotations

import math

from mlserver import MLModel, types  # type: ignore[import-not-found]
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]


class Sqrt(MLModel):  # type: ignore[misc]
    """The trivial call, as a tensor of one number."""

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        result = math.sqrt(payload.inputs[0].data[0])
        output = types.ResponseOutput(name="y", shape=[1], datatype="FP64", data=[result])
        return types.InferenceResponse(id=payload.id, model_name=self.name, outputs=[output])


class Identity(MLModel):  # type: ignore[misc]
    """An array there and back."""

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        array = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("y", array)
        return types.InferenceResponse(id=payload.id, model_name=self.name, outputs=[output])
