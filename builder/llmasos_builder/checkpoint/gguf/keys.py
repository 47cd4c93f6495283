"""The metadata of a GGUF file that may stay unread.

A key of the architecture's namespace describes the network. Each one is read by the code that
makes config.json, or does not change the computation, or holds the neutral value (the one that
llama.cpp assumes if the key is missing). Any other key is refused by name, so that an unknown key
cannot silently change tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

from llmasos.errors import UnsupportedArchitectureError

from llmasos_builder.checkpoint.gguf.metadata import Metadata, is_one_of

# Sizes, which the shapes of the tensors confirm, and notes. A network has one kind of norm, and
# llama.cpp ignores the epsilon of the other kind.
_DESCRIPTIONS = frozenset(
    {
        "attention.layer_norm_epsilon",
        "attention.layer_norm_rms_epsilon",
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "rope.scaling.finetuned",
        "rope.scaling.original_context_length",
        "vocab_size",
    }
)
_OFF = (0,)
_ONCE = (0, 1)  # llama.cpp takes 0 for "not set"
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": _OFF,
    "attention.max_alibi_bias": _OFF,
    "attention.output_scale": _ONCE,
    "attention.scale": _OFF,
    "attention.shared_kv_layers": _OFF,
    "attention.temperature_length": _OFF,
    "attention.temperature_scale": _OFF,
    "attn_logit_softcapping": _OFF,
    "embedding_scale": _ONCE,
    "expert_count": _OFF,
    "expert_feed_forward_length": _OFF,
    "expert_group_count": _OFF,
    "expert_group_used_count": _OFF,
    "expert_shared_count": _OFF,
    "expert_used_count": _OFF,
    "final_logit_softcapping": _OFF,
    "leading_dense_block_count": _OFF,
    "logit_scale": _ONCE,
    "nextn_predict_layers": _OFF,
    "pooling_type": _OFF,
    "residual_scale": _ONCE,
    "rope.scaling.alpha": _OFF,
    "rope.scaling.yarn_log_multiplier": _OFF,
    "use_parallel_residual": (False,),
}
# What the converters note about the order of rows, which is the order that is read here.
_LAYOUTS = {"falcon": "jploski", "llama": "Meta AI original pth"}
_LEARNED_OR_SLOPES = ("bloom", "gpt2")
_ALIBI_BIAS = 8.0
# Namespaces besides the architecture's that change what a network computes, or name no network.
_OTHER_COMPUTATIONS = ("adapter.", "clip.", "diffusion.", "xielu.")


def check_no_key_is_unread(metadata: Metadata) -> None:
    """Raises UnsupportedArchitectureError for an unread key that may change the computation."""
    namespace = f"{metadata.architecture}."
    for key, value in metadata.file.metadata.items():
        if key.startswith(_OTHER_COMPUTATIONS):
            raise _unsupported(metadata, key, value)
        if not key.startswith(namespace) or key in metadata.asked:
            continue
        name = key.removeprefix(namespace)
        if name not in _DESCRIPTIONS and not _is_neutral(metadata, name, value):
            raise _unsupported(metadata, key, value)
    kind = metadata.file.metadata.get("general.type", "model")
    if kind != "model":
        raise _unsupported(metadata, "general.type", kind)


def _is_neutral(metadata: Metadata, name: str, value: Any) -> bool:
    architecture = metadata.architecture
    if name == "tensor_data_layout":
        return bool(value == _LAYOUTS.get(architecture))
    if architecture in _LEARNED_OR_SLOPES and name.startswith("rope."):
        return True  # nothing is rotated
    if architecture == "bloom" and name == "attention.max_alibi_bias":
        return bool(value == _ALIBI_BIAS)
    if name == "attention.sliding_window" and isinstance(value, int):
        return value == 0 or value >= metadata.count("context_length")
    return is_one_of(value, NEUTRAL.get(name, ()))


def _unsupported(metadata: Metadata, key: str, value: Any) -> UnsupportedArchitectureError:
    return UnsupportedArchitectureError(
        f"{metadata.file.path}: {key} is {short(value)}, which is not supported for "
        f"{metadata.architecture}"
    )
