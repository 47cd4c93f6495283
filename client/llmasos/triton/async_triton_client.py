"""A language model behind a Triton server, for asyncio: the methods of TritonClient, awaited."""

from __future__ import annotations

from llmasos.arguments import check_timeout
from llmasos.encoding.async_encoder_model import AsyncEncoderModel
from llmasos.errors import InvalidRequestError
from llmasos.generation.async_language_model import AsyncLanguageModel
from llmasos.triton.transport.grpc_infer import GrpcInfer
from llmasos.triton.transport.triton_encoding import TritonEncoding
from llmasos.triton.transport.triton_grpc_async import AsyncGrpcTransport
from llmasos.triton.triton_client import address_of


class AsyncTritonClient(AsyncLanguageModel, AsyncEncoderModel):
    """A client of a served model over gRPC; made and used in one event loop. An encoder has the
    method of its task, as for TritonClient.

    url: `host:port` or `grpc://host:port`. model: as for TritonClient. timeout_s: longest wait
    for a whole answer; None waits for ever. Errors are those of TritonClient. Cancelling a task
    that waits for an answer ends its request in the engine.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        model: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        address, protocol = address_of(url, None)
        if protocol != "grpc":
            raise InvalidRequestError(f"AsyncTritonClient speaks gRPC: grpc://host:port, got {url}")
        checked = check_timeout(timeout_s)
        self._encoding = texts = TritonEncoding(GrpcInfer(address, model=model, timeout_s=checked))
        self._server = AsyncGrpcTransport(
            address, model=model, timeout_s=checked, close=texts.close
        )
        super().__init__(self._server)

    async def is_ready(self) -> bool:
        """Whether the server answers and its models are loaded."""
        return await self._server.is_ready()
