"""Sliding windows: which layers have one, and how long it is.

A window of W tokens lets each token see the last W, including itself. A window as long as the
longest supported sequence equals full attention and counts as none.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmasos_builder.architectures.config import MAX_LAYERS, Config
from llmasos_builder.architectures.decoder.rotary import longest_text

DEFAULT_WINDOW = 4096  # transformers': MistralConfig, Qwen2Config, Qwen3Config
_DEFAULT_FULL_LAYERS = 28
_LAYER_TYPES = {"full_attention", "sliding_attention"}
Windows = tuple[int | None, ...] | None
"""The window of each layer; None if all layers see everything."""


def windows(config: Config, slides: Sequence[bool], *, window: int) -> Windows:
    """slides: True for each layer with a sliding window."""
    if window >= longest_text(config) or not any(slides):
        return None
    return tuple(window if sliding else None for sliding in slides)


def windows_of_all_layers(config: Config, *, default: int | None) -> Windows:
    """Reads `sliding_window`; null turns it off, a missing field does not."""
    if config.is_null("sliding_window") or (default is None and not config.has("sliding_window")):
        return None
    num_layers = config.size("num_hidden_layers", at_most=MAX_LAYERS)
    return windows(config, [True] * num_layers, window=config.size("sliding_window", default))


def windows_of_some_layers(config: Config) -> Windows:
    """Reads Qwen's window, which `use_sliding_window` turns on for some layers."""
    num_layers = config.size("num_hidden_layers", at_most=MAX_LAYERS)
    full_layers = config.size("max_window_layers", _DEFAULT_FULL_LAYERS, at_least=0)
    used = config.flag("use_sliding_window", False)
    kinds = layer_types(config, num_layers=num_layers)
    slides = [used and layer >= full_layers for layer in range(num_layers)]
    if kinds is not None:
        slides = [kind == "sliding_attention" for kind in kinds]
    if used and config.is_null("sliding_window"):
        if any(slides) and kinds is not None:
            raise config.unsupported("sliding_window", "though layer_types has layers that slide")
        return None
    if any(slides) and not used:
        raise config.unsupported("layer_types", "though use_sliding_window is not true")
    return windows(config, slides, window=config.size("sliding_window", DEFAULT_WINDOW))


def layer_types(config: Config, *, num_layers: int) -> tuple[str, ...] | None:
    """Returns the kind of attention of each layer; None if config.json has no such list."""
    kinds = config.texts("layer_types")
    if kinds is not None and (len(kinds) != num_layers or not _LAYER_TYPES.issuperset(kinds)):
        expected = f"one of {', '.join(sorted(_LAYER_TYPES))} for each of {num_layers} layers"
        raise config.unsupported("layer_types", f"{expected} is supported")
    return kinds
