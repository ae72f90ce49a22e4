"""Runs in MLServer's environment: a runtime of MLServer that serves an ONNX model."""

from __future__ import annotations

import onnxruntime
from mlserver import MLModel  # type: ignore[import-not-found]
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]
from mlserver.types import (  # type: ignore[import-not-found]
    InferenceRequest,
    InferenceResponse,
)
from mlserver.utils import get_model_uri  # type: ignore[import-not-found]


class OnnxModel(MLModel):  # type: ignore[misc]  # its types are not here
    """An ONNX model."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(await get_model_uri(self.settings), options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        names = [node.name for node in self._session.get_outputs()]
        given = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        answers = zip(names, self._session.run(names, given), strict=True)
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output(name, answer) for name, answer in answers],
        )
