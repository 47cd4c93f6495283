"""LLMasOS behind a real Triton server: this process is the client, the server is its child.

Each stream is a ModelStreamInfer call of its own on the ensemble, with a thread that reads
it, as separate clients would have. The server runs with the same number of threads as any
other peer; what the client takes comes on top and is reported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from llmasos_runtime.triton.launcher import ServerOptions, TritonServer
from numpy.typing import DTypeLike
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.peers.peer import PeerSettings, Prompt, Recording, peak_resident_bytes

_messages: Any = service_pb2
NO_END_TOKEN = -1
OUTPUTS = ("text_output", "finish_reason")


def load(settings: PeerSettings) -> LlmasosTriton:
    return LlmasosTriton(settings)


class LlmasosTriton:
    """`settings.model` is a Triton model repository."""

    def __init__(self, settings: PeerSettings) -> None:
        self.details = settings.precisions
        os.environ["LLMASOS_ENGINE_NUM_THREADS"] = str(settings.num_threads)
        options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0)
        self._server = TritonServer(Path(settings.model), options)
        self._server.start()
        self._channel = grpc.insecure_channel(self._server.grpc_url)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._pool = ThreadPoolExecutor(settings.max_streams)

    def run(self, prompts: Sequence[Prompt], num_new_tokens: int) -> Recording:
        requests = [_request(prompt.text, num_new_tokens) for prompt in prompts]
        recording = Recording(len(prompts))
        reading = [
            self._pool.submit(self._read, request, stream, recording)
            for stream, request in enumerate(requests)
        ]
        for reader in reading:
            reader.result()
        return recording

    def _read(self, request: Any, stream: int, recording: Recording) -> None:
        """Note each response as one token: the engine sends one for each step."""
        for response in self._stub.ModelStreamInfer(iter([request])):
            if response.error_message:
                raise RuntimeError(response.error_message)
            if response.infer_response.outputs:
                recording.add_times(stream, 1)

    def peak_memory_bytes(self) -> int:
        """Of the server's processes, added up; the client is not counted."""
        children = psutil.Process().children(recursive=True)
        return sum(peak_resident_bytes(child.pid) for child in children)

    def close(self) -> None:
        self._pool.shutdown()
        self._channel.close()
        self._server.stop()


def _request(text: str, num_new_tokens: int) -> Any:
    request = _messages.ModelInferRequest(model_name="ensemble")
    encoded = text.encode()
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(len(encoded).to_bytes(4, "little") + encoded)
    _add(request, "max_tokens", "INT32", np.int32, num_new_tokens)
    _add(request, "end_id", "INT32", np.int32, NO_END_TOKEN)
    _add(request, "stream", "BOOL", np.bool_, 1)
    for name in OUTPUTS:
        request.outputs.add(name=name)
    return request


def _add(request: Any, name: str, datatype: str, dtype: DTypeLike, value: int) -> None:
    request.inputs.add(name=name, datatype=datatype, shape=[1, 1])
    request.raw_input_contents.append(np.array([value], dtype).tobytes())
