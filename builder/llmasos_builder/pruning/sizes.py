"""What a pruned network's sizes are, from what the caller asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmasos.errors import InvalidRequestError, UnsupportedArchitectureError

from llmasos_builder.checkpoint import Checkpoint

MULTIPLE = 64
"""Widths are multiples of it, as kernels and groups of quantized weights like them."""
_MLP = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOptions:
    """mlp_width, kv_heads, layers: the part of each that stays; None leaves it as it is.

    keep_params: the part of all parameters that stays, which MLPs become as narrow for as it
    takes after the other parts. num_windows, of seq_length tokens each: the text that is ranked
    over.
    """

    mlp_width: float | None = None
    kv_heads: float | None = None
    layers: float | None = None
    keep_params: float | None = None
    num_windows: int = 16
    seq_length: int = 256

    def __post_init__(self) -> None:
        parts = ("mlp_width", "kv_heads", "layers", "keep_params")
        for name in parts:
            value, option = getattr(self, name), name.replace("_", "-")
            if value is not None and not 0 < value < 1:
                raise InvalidRequestError(f"{option} must be above 0% and below 100%: {value:.0%}")
        if all(getattr(self, name) is None for name in parts):
            raise InvalidRequestError(
                "nothing is pruned without mlp-width, kv-heads, layers or keep-params"
            )
        if self.mlp_width is not None and self.keep_params is not None:
            raise InvalidRequestError("keep-params chooses the mlp-width: give one of them")
        for name, number in (("samples", self.num_windows), ("seq-length", self.seq_length)):
            if number < 1:
                raise InvalidRequestError(f"{name} is {number}, must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of a network of equal layers. num_params: of the whole network."""

    width: int
    num_heads: int
    num_kv_heads: int
    num_layers: int
    head_dim: int
    hidden: int
    num_params: int

    @property
    def layer_params(self) -> int:
        """Parameters of the matrices of a layer that are pruned."""
        attention = 2 * (self.num_heads + self.num_kv_heads) * self.head_dim
        return self.hidden * (attention + 3 * self.width)


def sizes_of(checkpoint: Checkpoint) -> Sizes:
    """Raises UnsupportedArchitectureError unless layers are all Llama's."""
    config, names = checkpoint.config, checkpoint.weights.names()
    if "quantization_config" in config:
        raise UnsupportedArchitectureError("a quantized checkpoint is not pruned; prune its source")
    layers, width = config.get("num_hidden_layers"), config.get("intermediate_size")
    gated = isinstance(layers, int) and all(
        f"model.layers.{i}.mlp.{name}.weight" in names for i in range(layers) for name in _MLP
    )
    biased = any(n.endswith("_proj.bias") and ".mlp." in n for n in names)
    outputs = sum(n.endswith(".mlp.down_proj.weight") for n in names)
    if not isinstance(width, int) or not gated or outputs != layers or biased:
        raise UnsupportedArchitectureError(
            "only MLPs of gate_proj, up_proj and down_proj without biases are pruned"
        )
    return _sizes(checkpoint, config)


def _sizes(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Sizes:
    weights, heads = checkpoint.weights, int(config["num_attention_heads"])
    total = 0
    for name in weights.names():
        number = 1
        for length in weights.shape(name):
            number *= length
        total += number
    return Sizes(
        width=int(config["intermediate_size"]),
        num_heads=heads,
        num_kv_heads=int(config.get("num_key_value_heads") or heads),
        num_layers=int(config["num_hidden_layers"]),
        head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
        hidden=int(config["hidden_size"]),
        num_params=total,
    )


def pruned_sizes(sizes: Sizes, options: PruneOptions) -> Sizes:
    """Returns what stays. Raises InvalidRequestError where a part rounds to all or too little."""
    groups = _part(sizes.num_kv_heads, options.kv_heads, "kv-heads")
    layers = _part(sizes.num_layers, options.layers, "layers")
    width = _part(sizes.width, options.mlp_width, "mlp-width", MULTIPLE)
    heads = sizes.num_heads // sizes.num_kv_heads * groups
    made = _with(sizes, width=width, heads=heads, groups=groups, layers=layers)
    if options.keep_params is None:
        return made
    over = made.num_params - options.keep_params * sizes.num_params
    unit = 3 * sizes.hidden * layers
    narrow = int((width - over / unit) // MULTIPLE) * MULTIPLE
    if narrow >= width:
        raise InvalidRequestError(f"{options.keep_params:.0%} of the parameters are there already")
    if narrow < MULTIPLE:
        raise InvalidRequestError(
            f"keep-params is {options.keep_params:.0%}, MLPs of {MULTIPLE} still have "
            f"{(made.num_params - (width - MULTIPLE) * unit) / sizes.num_params:.0%}",
            hint="leave out layers or kv-heads too",
        )
    return _with(sizes, width=narrow, heads=heads, groups=groups, layers=layers)


def _with(sizes: Sizes, *, width: int, heads: int, groups: int, layers: int) -> Sizes:
    rest = sizes.num_params - sizes.num_layers * sizes.layer_params
    norms = 2 * sizes.hidden * (sizes.num_layers - layers)
    layer = sizes.hidden * (2 * (heads + groups) * sizes.head_dim + 3 * width)
    return Sizes(
        width=width,
        num_heads=heads,
        num_kv_heads=groups,
        num_layers=layers,
        head_dim=sizes.head_dim,
        hidden=sizes.hidden,
        num_params=rest - norms + layers * layer,
    )


def _part(number: int, part: float | None, name: str, multiple: int = 1) -> int:
    if part is None:
        return number
    kept = max(multiple, round(number * part / multiple) * multiple)
    if kept >= number:
        raise InvalidRequestError(f"{name}: {part:.0%} of {number} rounds to {kept}")
    return kept
