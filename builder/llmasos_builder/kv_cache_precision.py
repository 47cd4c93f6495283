"""The type in which an engine for CPUs keeps keys and values."""

from __future__ import annotations

from collections.abc import Mapping

from llmasos.engine.plan import KVCachePrecision, Precision
from llmasos.errors import InvalidRequestError

from llmasos_builder.architectures import Network
from llmasos_builder.architectures.encoder_decoder.network import EncoderDecoder
from llmasos_builder.options import BuildOptions

_KV_CACHE: Mapping[Precision, KVCachePrecision] = {
    "f32": "f32",
    "bf16": "bf16",
    "int8": "u8",
    "int4": "u8",
}


def kv_cache_of(options: BuildOptions, network: Network) -> KVCachePrecision:
    """Returns the KV cache precision of an engine for CPUs. Raises InvalidRequestError for u8 if
    its attention cannot read that.
    """
    chosen = options.kv_cache_precision
    has_encoder = isinstance(network, EncoderDecoder)
    if has_encoder and chosen == "u8":
        raise InvalidRequestError(
            "kv_cache_precision must be f32 or bf16 for an encoder-decoder, got 'u8'"
        )
    if network.attention_cap is not None and chosen == "u8":
        raise InvalidRequestError(
            "kv_cache_precision must be f32 or bf16, for attn_logit_softcapping is "
            f"{network.attention_cap}, got 'u8'"
        )
    if chosen is not None:
        return chosen
    if options.deterministic or has_encoder:
        return "f32"
    default = _KV_CACHE[options.precision]
    return "bf16" if network.attention_cap is not None and default == "u8" else default
