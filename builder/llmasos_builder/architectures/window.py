"""How long a sequence may be where attention looks back through a window.

A window of W tokens lets each token see the W last ones, itself among them: no sequence of at
most W tokens can tell it from full attention. So the network is compiled with full attention,
and the window is the longest sequence that it is good for.
"""

from __future__ import annotations

from llmasos_builder.architectures.config import Config

DEFAULT_WINDOW = 4096  # transformers': MistralConfig, Qwen2Config, Qwen3Config
_DEFAULT_FULL_LAYERS = 28
_LAYER_TYPES = {"full_attention", "sliding_attention"}


def length_within(config: Config, window: int | None) -> int:
    """max_position_embeddings, or the window if that is shorter."""
    longest = config.size("max_position_embeddings")
    return longest if window is None else min(longest, window)


def window_of_all_layers(config: Config, *, default: int | None) -> int | None:
    """`sliding_window`, which null turns off and a missing one does not."""
    if config.is_null("sliding_window") or (default is None and not config.has("sliding_window")):
        return None
    return config.size("sliding_window", default)


def window_of_some_layers(config: Config, *, num_layers: int) -> int | None:
    """Qwen's, which `use_sliding_window` turns on for the layers that slide; None if none does."""
    full_layers = config.size("max_window_layers", _DEFAULT_FULL_LAYERS, at_least=0)
    used = config.flag("use_sliding_window", False)
    kinds = layer_types(config, num_layers=num_layers)
    sliding = used and num_layers > full_layers if kinds is None else "sliding_attention" in kinds
    if sliding and not used:
        raise config.unsupported("layer_types", "though use_sliding_window is not true")
    return config.size("sliding_window", DEFAULT_WINDOW) if sliding else None


def layer_types(config: Config, *, num_layers: int) -> tuple[str, ...] | None:
    """How each layer attends; None where config.json has no such list."""
    kinds = config.texts("layer_types")
    if kinds is not None and (len(kinds) != num_layers or not _LAYER_TYPES.issuperset(kinds)):
        expected = f"one of {', '.join(sorted(_LAYER_TYPES))} for each of {num_layers} layers"
        raise config.unsupported("layer_types", f"{expected} is supported")
    return kinds
