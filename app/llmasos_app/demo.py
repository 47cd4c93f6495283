"""The whole product in one run: checkpoint, engine, Triton server, streamed answer."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmasos.engine.plan import Precision
from llmasos.errors import EngineStoppedError, LLMasOSError
from llmasos.generation.stream import join
from llmasos.outputs import StreamPiece, Usage
from llmasos.sampling import SamplingParams
from llmasos.triton.triton_client import TritonClient

from llmasos_app.cache.engine_cache import find_repository

if TYPE_CHECKING:
    from llmasos_serving.triton.server import TritonServer

_WATCHER_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How fast one answer came, seen by the client.

    ttft_s: from sending the request to the first text. total_s: to the last piece.
    """

    ttft_s: float
    total_s: float
    usage: Usage

    @property
    def tokens_per_s(self) -> float:
        """Tokens after the first, over the time after the first."""
        return (self.usage.num_output_tokens - 1) / max(self.total_s - self.ttft_s, 1e-9)


def run_demo(prompt: str, *, model: str, precision: Precision, max_tokens: int) -> None:
    """Build, serve, ask, print, stop; raises LLMasOSError when any of it fails."""
    # Not needed before.
    from llmasos_serving.triton.installation import prepare_server  # noqa: PLC0415
    from llmasos_serving.triton.options import ServerOptions  # noqa: PLC0415
    from llmasos_serving.triton.server import TritonServer  # noqa: PLC0415

    prepare_server()
    repository = _timed_build(model, precision)
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=0)
    server = TritonServer(repository, options)
    started = time.perf_counter()
    with server:
        _note(f"Triton server ready in {time.perf_counter() - started:.1f} s: {server.grpc_url}")
        try:
            with TritonClient(server.grpc_url) as client:
                timing = answer(
                    client, prompt, params=SamplingParams.open_to_model(max_tokens=max_tokens)
                )
        except EngineStoppedError as error:
            raise _reason_to_stop(server, error) from error
    _note(
        f"time to first token {1e3 * timing.ttft_s:.0f} ms, "
        f"{timing.usage.num_output_tokens} tokens at {timing.tokens_per_s:.0f} tokens/s"
    )


def _reason_to_stop(server: TritonServer, error: EngineStoppedError) -> LLMasOSError:
    """What the server's watcher found, which is known a moment after the connection broke."""
    ends_at = time.monotonic() + _WATCHER_S
    while server.failure is None and time.monotonic() < ends_at:
        time.sleep(0.05)
    return server.failure or error


def answer(client: TritonClient, prompt: str, *, params: SamplingParams) -> Timing:
    """Stream the answer to stdout as it comes, and time it."""
    _note(f"\n> {prompt}")
    started = time.perf_counter()
    pieces: list[StreamPiece] = []
    ttft_s: float | None = None
    with client.stream_chat([{"role": "user", "content": prompt}], params) as stream:
        for piece in stream:
            if piece.text and ttft_s is None:
                ttft_s = time.perf_counter() - started
            sys.stdout.write(piece.text)
            sys.stdout.flush()
            pieces.append(piece)
    total_s = time.perf_counter() - started
    sys.stdout.write("\n\n")
    sys.stdout.flush()
    return Timing(
        ttft_s=total_s if ttft_s is None else ttft_s, total_s=total_s, usage=join(pieces).usage
    )


def _timed_build(model: str, precision: Precision) -> Path:
    started = time.perf_counter()
    repository = find_repository(model, precision=precision)
    _note(f"{model} as a model repository in {time.perf_counter() - started:.1f} s: {repository}")
    return repository


def _note(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
