"""The operations that a compiler for some kinds of networks refuses by name."""

from __future__ import annotations

from typing import Any, NoReturn

from llmasos.errors import UnsupportedArchitectureError


class WithoutCrossAttention:
    """The part of `Graph` that encoder-decoders need, for implementations that have none of it.

    compiler: its name in messages. compiles: the networks that it takes.
    """

    compiler = "this compiler"
    compiles = "networks of one part"

    def scale(self, x: Any, factor: float) -> Any:
        """See Graph."""
        del x, factor
        raise self._refused("scaled hidden states")

    def keep_encoded(self, key: Any, value: Any) -> None:
        """See Graph."""
        del key, value
        raise self._refused("an encoder and a decoder")

    def end_encoder(self) -> None:
        """See Graph."""
        raise self._refused("an encoder and a decoder")

    def cross_attention(self, query: Any, *, scores: Any) -> Any:
        """See Graph."""
        del query, scores
        raise self._refused("cross-attention")

    def refuse_distances(self, distance_bias: object) -> None:
        """Raises UnsupportedArchitectureError where a decoder's attention has such a bias."""
        if distance_bias is not None:
            raise self._refused("relative positions")

    def _refused(self, what: str) -> UnsupportedArchitectureError:
        return UnsupportedArchitectureError(
            f"{self.compiler} compiles {self.compiles}, and this network has {what}",
            hint="build for openvino",
        )


class DecodersOnly(WithoutCrossAttention):
    """The part of `Graph` that encoders need, for implementations that have none of it."""

    compiles = "decoders"

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
