"""The head of an embedder, from the modules that sentence-transformers keeps beside a network."""

from __future__ import annotations

from llmasos.errors import UnsupportedArchitectureError

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.encoder.head import Head, HeadLinear
from llmasos_builder.graph import Activation, Pooling

MODULES = "sentence_transformers"
"""The field of config.json that the checkpoint's reader puts them under."""
_POOLING: dict[str, Pooling] = {
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "max": "max",
    "cls": "first",
    "lasttoken": "last",
}
_ACTIVATIONS: dict[str, Activation | None] = {
    "Identity": None,
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
}


def embedding_head(config: Config) -> Head:
    """Returns the head; without modules it is the mean of the tokens, as sentence-transformers
    has it. Raises UnsupportedArchitectureError for a pooling or activation that is not known.
    """
    modules = config.section(MODULES)
    if modules is None:
        return Head(task="embed", pooling=("mean",))
    pooling = []
    for name in modules.texts("pooling") or ("mean",):
        if name not in _POOLING:
            raise UnsupportedArchitectureError(
                f"pooling {name!r} is not supported; {', '.join(_POOLING)} are"
            )
        pooling.append(_POOLING[name])
    return Head(
        task="embed",
        pooling=tuple(pooling),
        layers=tuple(_dense(one) for one in modules.items("dense", [])),
        normalizes=modules.flag("normalize", False),
    )


def _dense(fields: object) -> HeadLinear:
    assert isinstance(fields, dict)
    layer = Config(fields, where="the module Dense")
    name, activation = layer.text("name"), layer.text("activation").rsplit(".", 1)[-1]
    if activation not in _ACTIVATIONS:
        raise UnsupportedArchitectureError(
            f"activation {activation!r} of {name} is not supported; {', '.join(_ACTIVATIONS)} are"
        )
    return HeadLinear(
        name=f"{name}.linear",
        size=layer.size("out_features"),
        bias=f"{name}.linear.bias" if layer.flag("bias", True) else None,
        activation=_ACTIVATIONS[activation],
    )
