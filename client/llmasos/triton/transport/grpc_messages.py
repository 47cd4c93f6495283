"""The messages of gRPC: tritonclient's, filled and read without numpy.

An answer of one token is a few bytes, which arrays would cost more than they carry.
"""

from __future__ import annotations

import struct
from typing import Any

from tritonclient.grpc import service_pb2

from llmasos.sampling_table import SAMPLING_TABLE
from llmasos.triton.transport.asked_model import (
    ENSEMBLE,
    AskedModel,
    engine_of_steps,
    model_of_text,
)
from llmasos.triton.transport.base import REMEMBERED_MS, TOKENS, Fields, outputs_of

_messages: Any = service_pb2  # its classes are made at run time, so that no checker knows them
_FORMATS = {"INT32": "<i", "INT64": "<q", "UINT64": "<Q", "FP32": "<f", "BOOL": "<?"}
_TYPES = {row.ensemble_name: row.type for row in SAMPLING_TABLE}
"""Of the tensors that hold numbers; those that are not here are INT32."""


def config_request(model: str) -> Any:
    """Returns the question for the configuration of a model."""
    return _messages.ModelConfigRequest(name=model)


def ready_request(model: str) -> Any:
    """Returns the question whether a model is ready."""
    return _messages.ModelReadyRequest(name=model)


def metadata_request(engine: str) -> Any:
    """Returns the question for the inputs of an engine."""
    return _messages.ModelMetadataRequest(name=engine)


def engine_of_config(reply: Any) -> str | None:
    """Returns the engine behind a model, as its configuration names it; None if it names none."""
    steps = reply.config.ensemble_scheduling.step
    return engine_of_steps(step.model_name for step in steps)


def model_of_metadata(engine: Any, name: str, asked: str | None) -> AskedModel:
    """Returns the model to ask of a server with this engine of this name."""
    inputs = [tensor.name for tensor in engine.inputs]
    return model_of_text(inputs, engine=name, ensemble=asked or ENSEMBLE)


def stop_request(asked: AskedModel, request_id: str) -> Any:
    """Returns a request that tells the engine to end the request of this id."""
    fields = {"input_ids": [0], "input_lengths": 1, "request_output_len": 1, "stop": True}
    fields["deadline_ms"] = REMEMBERED_MS
    return infer_request(AskedModel(asked.engine, asked.engine), request_id, fields)


def infer_request(asked: AskedModel, request_id: str, fields: Fields) -> Any:
    """Returns a ModelInferRequest of these tensors, each with a batch dimension of 1."""
    request = _messages.ModelInferRequest(model_name=asked.model, id=request_id)
    for name, value in fields.items():
        values = value if isinstance(value, list) else [value]
        datatype, content = _encode(name, values)
        request.inputs.add(name=name, datatype=datatype, shape=[1, len(values)])
        request.raw_input_contents.append(content)
    if "stop" in fields:
        return request  # it is answered with nothing
    outputs = outputs_of(fields, with_tokens=asked.is_engine)
    for name in outputs:
        request.outputs.add(name=name)
    if not asked.is_engine:
        # Ensembles do not pass the list of outputs on to their steps, but parameters they do:
        # so the engine knows what it need not send with each token.
        request.parameters["outputs"].string_param = ",".join(outputs)
    return request


def _encode(name: str, values: list[Any]) -> tuple[str, bytes]:
    """Returns the datatype and raw little-endian content of a tensor."""
    if isinstance(values[0], str):
        encoded = [value.encode() for value in values]
        return "BYTES", b"".join(struct.pack("<I", len(item)) + item for item in encoded)
    if isinstance(values[0], bool):
        return "BOOL", bytes(values)
    datatype = _TYPES.get(name, "INT32")
    return datatype, b"".join(struct.pack(_FORMATS[datatype], value) for value in values)


def values_of(response: Any) -> dict[str, Any]:
    """The first element of each output that has one, by name, and all token ids."""
    return {
        output.name: _ids(content) if output.name == TOKENS else _decode(output.datatype, content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
        if content
    }


def _ids(content: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(content) // 4}i", content)


def _decode(datatype: str, content: bytes) -> Any:
    if datatype == "BYTES":
        (length,) = struct.unpack_from("<I", content)
        return content[4 : 4 + length].decode("utf-8", "replace")
    form = _FORMATS.get(datatype)
    return None if form is None else struct.unpack_from(form, content)[0]
