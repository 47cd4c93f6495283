"""The operations that a compiler which takes decoders alone refuses by name."""

from __future__ import annotations

from typing import Any, NoReturn

from llmasos.errors import UnsupportedArchitectureError


class DecodersOnly:
    """The part of `Graph` that encoders need, for implementations that have none of it.

    compiler: its name in messages.
    """

    compiler = "this compiler"

    def embed_token_types(self, table: Any) -> NoReturn:
        """See Graph."""
        del table
        raise self._refused("token types")

    def attention(
        self, query: Any, key: Any, value: Any, *, scores: Any, distance_bias: Any = None
    ) -> NoReturn:
        """See Graph."""
        del query, key, value, scores, distance_bias
        raise self._refused("attention to later tokens")

    def pool(self, x: Any, kind: Any) -> NoReturn:
        """See Graph."""
        del x, kind
        raise self._refused("vectors of whole sequences")

    def normalize(self, x: Any) -> NoReturn:
        """See Graph."""
        del x
        raise self._refused("vectors of unit length")

    def _refused(self, what: str) -> UnsupportedArchitectureError:
        return UnsupportedArchitectureError(
            f"{self.compiler} compiles decoders, and this network has {what}",
            hint="build for openvino",
        )
