"""The transport of texts to a Triton server whose engine sees each of them once.

A request is one ModelInfer call over gRPC, or one POST to `infer` over HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from llmasos.encoding.results import Classification, FilledMask, LabelledSpan
from llmasos.encoding.transport import (
    Aggregation,
    EmbedOptions,
    Encoded,
    TextOptions,
    Vectors,
)
from llmasos.errors import InvalidRequestError, ServerError
from llmasos.text.whole_texts import Text
from llmasos.triton.transport.encoding_tensors import (
    NUM_TOKENS,
    EncodingRequest,
    Values,
    classifications_of,
    classify_request,
    classify_tokens_request,
    embed_request,
    fill_mask_request,
    gaps_of,
    spans_of,
    vectors_of,
)

T = TypeVar("T")
_OTHER_TASK = "the served model is built for another task"
_UNKNOWN_TENSOR = "unexpected inference"  # Triton's own words


class InferConnection(Protocol):
    """A protocol that carries one request and its response."""

    def infer(self, request: EncodingRequest) -> Future[Values]:
        """Sends a request; the future gets the outputs by name, or an LLMasOSError."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


class TritonEncoding:
    """Implements `EncodingTransport`. connection: is closed together with this object."""

    def __init__(self, connection: InferConnection) -> None:
        self._connection = connection

    def embed(
        self, texts: Sequence[str], embed: EmbedOptions, options: TextOptions
    ) -> Future[Encoded[Vectors]]:
        """See EncodingTransport."""
        return self._ask(embed_request(texts, embed, options), vectors_of)

    def classify(
        self, texts: Sequence[Text], options: TextOptions
    ) -> Future[Encoded[list[Classification]]]:
        """See EncodingTransport."""
        return self._ask(classify_request(texts, options), classifications_of)

    def classify_tokens(
        self, texts: Sequence[str], aggregation: Aggregation, options: TextOptions
    ) -> Future[Encoded[list[list[LabelledSpan]]]]:
        """See EncodingTransport."""
        return self._ask(classify_tokens_request(texts, aggregation, options), spans_of)

    def fill_mask(
        self, texts: Sequence[str], top_k: int, options: TextOptions
    ) -> Future[Encoded[list[list[list[FilledMask]]]]]:
        """See EncodingTransport."""
        return self._ask(fill_mask_request(texts, top_k, options), gaps_of)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _ask(self, request: EncodingRequest, read: Callable[[Values], T]) -> Future[Encoded[T]]:
        answered = self._connection.infer(request)
        result: Future[Encoded[T]] = Future()

        def done(found: Future[Values]) -> None:
            if found.cancelled() or not result.set_running_or_notify_cancel():
                return
            try:
                values = found.result()
                count = int(values[NUM_TOKENS].reshape(-1)[0])
                result.set_result(Encoded(read(values), count))
            except KeyError as error:
                result.set_exception(InvalidRequestError(f"{_OTHER_TASK}: it has no {error}"))
            except ServerError as error:
                is_other = _UNKNOWN_TENSOR in str(error)
                told = InvalidRequestError(f"{_OTHER_TASK}: {error}") if is_other else error
                result.set_exception(told)
            except Exception as error:  # noqa: BLE001 - it is told to whoever waits
                result.set_exception(error)

        def left(own: Future[Any]) -> None:
            if own.cancelled():
                answered.cancel()

        answered.add_done_callback(done)
        result.add_done_callback(left)
        return result
