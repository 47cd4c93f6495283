"""What a gateway is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass

from llmasos.errors import ServerError

DEFAULT_PORT = 9000
MAX_BODY_BYTES = 32 << 20
MAX_CONCURRENT = 768
"""Fewer than the requests that the engine queues: what it would refuse never reaches Triton."""

_AT_LEAST_1 = ("max_body_bytes", "max_depth", "max_concurrent", "max_requests_per_minute")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How requests are taken.

    api_keys: a request must bear one of them; none lets everybody in. max_body_bytes, max_depth: of
    one request, which must have come within body_timeout_s. max_concurrent: requests that may run
    at once for one key (or for all clients, if there are no keys), and max_concurrent_in_all: for
    all keys together; more are refused with 429. max_requests_per_minute: for one key (or for one
    address, if there are no keys); None is no limit. keep_alive_s: after so long without a token a
    stream sends a comment, so that nothing between takes it for dead. first_piece_s: how long the
    first piece is waited for before the header of a stream is sent; an error that comes in that
    time has its HTTP status.
    """

    api_keys: tuple[str, ...] = ()
    max_body_bytes: int = MAX_BODY_BYTES
    max_depth: int = 64
    body_timeout_s: float = 60.0
    max_concurrent: int = MAX_CONCURRENT
    max_concurrent_in_all: int = MAX_CONCURRENT
    max_requests_per_minute: int | None = None
    keep_alive_s: float = 10.0
    first_piece_s: float = 5.0

    def __post_init__(self) -> None:
        if any(not key.isascii() or not key.strip() for key in self.api_keys):
            raise ServerError("an API key must be printable ASCII, got one that is empty or is not")
        for name in _AT_LEAST_1:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ServerError(f"{name} must be at least 1, got {value}")
