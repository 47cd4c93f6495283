"""The parity check sees what each architecture of the family has for itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from family_networks import FAMILY_NETWORKS
from llmasos_builder.architectures.families.bloom import alibi_slopes
from llmasos_builder.graph import Array
from mutations import rolled, with_names, with_spec, with_weight
from parity import Model, Network, check_parity, make_network

Changed = Callable[[Network], Model]

OPT_LAYER = "model.decoder.layers.1."
OPT_BIASES = [  # not of keys: unless they are rotated, it moves all scores of a token alike
    *(f"{OPT_LAYER}self_attn.{p}_proj.bias" for p in ("q", "v", "out")),
    *(f"{OPT_LAYER}{part}.bias" for part in ("fc1", "fc2", "self_attn_layer_norm")),
    "model.decoder.final_layer_norm.bias",
]
OPT_CHANGES: dict[str, tuple[str, Changed]] = {
    "positions off by two": ("opt-16", lambda n: with_spec(n, position_offset=0)),
    "positions off by one": (
        "opt-16",
        partial(with_weight, "model.decoder.embed_positions.weight", rolled(-1)),
    ),
    "gelu for relu": ("opt-16", lambda n: with_spec(n, activation="gelu")),
    "gelu's approximation": ("opt-64-untied-gelu", lambda n: with_spec(n, activation="gelu_tanh")),
    "no final norm": ("opt-16", lambda n: with_names(n, final_norm=None)),
    "norm first": (
        "opt-16-projected-norm-last",
        lambda n: with_spec(n, residual="norm_first"),
    ),
    "norm last": ("opt-16-no-final-norm", lambda n: with_spec(n, residual="norm_last")),
    "other embeddings": (
        "opt-16-projected-norm-last",
        partial(with_weight, "model.decoder.project_in.weight", rolled(1)),
    ),
    "other outputs": (
        "opt-16-projected-norm-last",
        partial(with_weight, "model.decoder.project_out.weight", rolled(1)),
    ),
    "rms for layer norm": ("opt-80-bare", lambda n: with_spec(n, norm="rms")),
    **{f"no {name}": ("opt-16", partial(with_weight, name, np.zeros_like)) for name in OPT_BIASES},
}


def no(network: str, *names: str) -> dict[str, tuple[str, Changed]]:
    return {f"no {name}": (network, partial(with_weight, name, np.zeros_like)) for name in names}


def rotated_whole(network: Network) -> Model:
    """As if a part of a head were all of it, with the same base."""
    size, part = network.spec.head_size, network.spec.rotary_frequencies
    assert part is not None and 2 * len(part) < size
    base = part[1] ** -len(part)
    return with_spec(
        network, rotary_frequencies=tuple(base ** -(2 * i / size) for i in range(size // 2))
    )


def swapped(first: int, second: int, end: int) -> Callable[[Array], Array]:
    """Two blocks of rows, from first to second and from second to end, in the other order."""
    return lambda values: np.concatenate(
        [values[:first], values[second:end], values[first:second], values[end:]]
    )


def with_bases_swapped(network: Network) -> Model:
    layers = network.spec.layer_rotary_frequencies
    assert layers is not None and layers[0] != layers[1]
    return with_spec(network, layer_rotary_frequencies=layers[::-1])


QWEN2_CHANGES = {
    **no("qwen2-16-gqa", *(f"model.layers.1.self_attn.{p}_proj.bias" for p in "qkv")),
    "no biases": ("qwen2-16-gqa", lambda n: with_spec(n, attention_input_bias=False)),
}
QWEN3_NORMS = ("self_attn.q_norm", "self_attn.k_norm")
QWEN3_CHANGES: dict[str, tuple[str, Changed]] = {
    "no norms of heads": ("qwen3-32-gqa", lambda n: with_names(n, head_norms=None)),
    "norms of heads swapped": (
        "qwen3-32-gqa",
        lambda n: with_names(n, head_norms=QWEN3_NORMS[::-1]),
    ),
    **{
        f"no weights of {norm}": (
            "qwen3-32-gqa",
            partial(with_weight, f"model.layers.1.{norm}.weight", np.ones_like),
        )
        for norm in QWEN3_NORMS
    },
    "yarn's scores not scaled": ("qwen3-16-yarn", lambda n: with_spec(n, rotary_scale=1.0)),
    **no("qwen3-16-biases", *(f"model.layers.1.self_attn.{p}_proj.bias" for p in "qkvo")),
}
PHI3_QKV = "model.layers.1.self_attn.qkv_proj.weight"
PHI3_CHANGES: dict[str, tuple[str, Changed]] = {
    "gate and up swapped": (
        "phi3-16-gqa",
        partial(with_weight, "model.layers.1.mlp.gate_up_proj.weight", rolled(80)),
    ),
    "key and value swapped": (
        "phi3-16-gqa",
        partial(with_weight, PHI3_QKV, swapped(64, 96, 128)),
    ),
    "key before query": ("phi3-16-gqa", partial(with_weight, PHI3_QKV, swapped(0, 64, 96))),
    "heads rotated whole": ("phi3-32-part", rotated_whole),
    "scores of parts of heads not scaled": (
        "phi3-32-part-longrope",
        lambda n: with_spec(n, rotary_scale=1.0),
    ),
    "scores scaled whole, where heads are rotated in part": (
        "phi3-32-part-longrope",
        lambda n: with_spec(
            n, rotary_scale=1.0, attention_scales=(n.spec.rotary_scale * 32**-0.5,) * 2
        ),
    ),
    "frequencies of long texts for short ones": (
        "phi3-32-part-longrope",
        lambda n: with_spec(n, rotary_frequencies=n.spec.for_length(256).rotary_frequencies),
    ),
    "heads interleaved": ("phi3-16-gqa", lambda n: with_names(n, heads_interleaved=True)),
}
NEOX_LAYER = "gpt_neox.layers.1."
NEOX_CHANGES: dict[str, tuple[str, Changed]] = {
    "one part after the other": ("gpt_neox-16", lambda n: with_spec(n, residual="norm_first")),
    "parts side by side": (
        "gpt_neox-64-whole-in-turn",
        lambda n: with_spec(n, residual="parallel"),
    ),
    "heads not interleaved": ("gpt_neox-16", lambda n: with_names(n, heads_interleaved=False)),
    "heads rotated whole": ("gpt_neox-16", rotated_whole),
    "gelu's approximation": ("gpt_neox-16", lambda n: with_spec(n, activation="gelu_tanh")),
    "norms swapped": (
        "gpt_neox-16",
        lambda n: with_names(
            n, attention_norm="post_attention_layernorm", mlp_norm="input_layernorm"
        ),
    ),
    **no(
        "gpt_neox-16",
        *(f"{NEOX_LAYER}attention.{part}.bias" for part in ("query_key_value", "dense")),
        *(f"{NEOX_LAYER}mlp.dense_{part}.bias" for part in ("h_to_4h", "4h_to_h")),
        *(f"{NEOX_LAYER}{part}_layernorm.bias" for part in ("input", "post_attention")),
    ),
}
GPT_NEO_CHANGES: dict[str, tuple[str, Changed]] = {
    "scaled scores": ("gpt_neo-16", lambda n: with_spec(n, attention_scales=(0.25, 0.25))),
    "exact gelu": ("gpt_neo-16", lambda n: with_spec(n, activation="gelu")),
    "positions off by one": (
        "gpt_neo-16",
        partial(with_weight, "transformer.wpe.weight", rolled(-1)),
    ),
    **no("gpt_neo-16", "transformer.h.1.attn.attention.out_proj.bias"),
    **no("gpt_neo-16", *(f"transformer.h.1.mlp.c_{part}.bias" for part in ("fc", "proj"))),
}
FALCON_NEW = "falcon-16-new-gqa"
FALCON_CHANGES: dict[str, tuple[str, Changed]] = {
    "one part after the other": (FALCON_NEW, lambda n: with_spec(n, residual="norm_first")),
    "parts side by side": (
        "falcon-16-mha-in-turn",
        lambda n: with_spec(n, residual="parallel"),
    ),
    "one norm for both": (FALCON_NEW, lambda n: with_names(n, mlp_norm="ln_attn")),
    "norms swapped": (
        FALCON_NEW,
        lambda n: with_names(n, attention_norm="ln_mlp", mlp_norm="ln_attn"),
    ),
    "heads not interleaved": (FALCON_NEW, lambda n: with_names(n, heads_interleaved=False)),
    "heads not interleaved, in turn": (
        "falcon-16-mha-in-turn",
        lambda n: with_names(n, heads_interleaved=False),
    ),
    "key and value swapped": (
        "falcon-16-mqa",
        partial(
            with_weight,
            "transformer.h.1.self_attention.query_key_value.weight",
            swapped(64, 80, 96),
        ),
    ),
    "gelu's approximation": ("falcon-16-mqa", lambda n: with_spec(n, activation="gelu_tanh")),
    "slopes not scaled": (
        "falcon-16-mha-slopes",
        lambda n: with_spec(n, attention_slopes=alibi_slopes(4)),
    ),
    **no(
        FALCON_NEW,
        *(f"transformer.h.1.self_attention.{part}.bias" for part in ("query_key_value", "dense")),
        *(f"transformer.h.1.mlp.dense_{part}.bias" for part in ("h_to_4h", "4h_to_h")),
    ),
}
GEMMA_CHANGES: dict[str, tuple[str, Changed]] = {
    "embeddings not scaled": ("gemma-32-gqa-tied", lambda n: with_spec(n, embedding_scale=1.0)),
    "embeddings of a head apart not scaled": (
        "gemma-16-mqa-biases",
        lambda n: with_spec(n, embedding_scale=1.0),
    ),
    "norms without their offset": ("gemma-32-gqa-tied", lambda n: with_spec(n, norm_offset=0.0)),
    "exact gelu": ("gemma-16-mqa-biases", lambda n: with_spec(n, activation="gelu")),
}
GEMMA2 = "gemma2-32-gqa-tied"
GEMMA2_CHANGES: dict[str, tuple[str, Changed]] = {
    **{
        f"no {field}": (GEMMA2, partial(with_names, **{field: None}))
        for field in ("attention_output_norm", "mlp_output_norm")
    },
    "no cap of logits": (GEMMA2, lambda n: with_spec(n, logit_cap=None)),
    "another cap of logits": (GEMMA2, lambda n: with_spec(n, logit_cap=3.01)),
    "a cap of scores": (GEMMA2, lambda n: with_spec(n, attention_cap=5.0)),
    "scores scaled by the head's size": (
        GEMMA2,
        lambda n: with_spec(n, attention_scales=(32**-0.5,) * 2),
    ),
    **no("gemma2-32-mha-global-uncapped", "model.layers.1.self_attn.v_proj.bias"),
}
BLOOM = "bloom-16-untied"
BLOOM_CHANGES: dict[str, tuple[str, Changed]] = {
    "no norm of embeddings": (BLOOM, lambda n: with_names(n, embedding_norm=None)),
    "slopes reversed": (BLOOM, lambda n: with_spec(n, attention_slopes=alibi_slopes(4)[::-1])),
    "slopes of twice as many heads": (
        BLOOM,
        lambda n: with_spec(n, attention_slopes=alibi_slopes(8)[:4]),
    ),
    "slopes of eight heads for six": (
        "bloom-8-six-heads",
        lambda n: with_spec(n, attention_slopes=alibi_slopes(8)[:6]),
    ),
    "heads not interleaved": (BLOOM, lambda n: with_names(n, heads_interleaved=False)),
    "exact gelu": (BLOOM, lambda n: with_spec(n, activation="gelu")),
    **no(
        BLOOM,
        *(f"transformer.h.1.self_attention.{part}.bias" for part in ("query_key_value", "dense")),
        *(f"transformer.h.1.mlp.dense_{part}.bias" for part in ("h_to_4h", "4h_to_h")),
        "transformer.word_embeddings_layernorm.bias",
    ),
}
GEMMA3 = "gemma3-32-gqa-tied"
GEMMA3_CHANGES: dict[str, tuple[str, Changed]] = {
    **{
        f"no {field}": (GEMMA3, partial(with_names, **{field: None}))
        for field in ("head_norms", "attention_output_norm", "mlp_output_norm")
    },
    "one base for all layers": (GEMMA3, lambda n: with_spec(n, layer_rotary_frequencies=None)),
    "bases swapped": (GEMMA3, with_bases_swapped),
    "scores scaled by the head's size": (
        GEMMA3,
        lambda n: with_spec(n, attention_scales=(32**-0.5,) * 2),
    ),
    "norms of heads without their offset": (GEMMA3, lambda n: with_spec(n, norm_offset=0.0)),
}
CHANGES = {
    f"{name}: {what}": change
    for name, changes in {
        "opt": OPT_CHANGES,
        "qwen2": QWEN2_CHANGES,
        "qwen3": QWEN3_CHANGES,
        "phi3": PHI3_CHANGES,
        "gpt_neox": NEOX_CHANGES,
        "gpt_neo": GPT_NEO_CHANGES,
        "falcon": FALCON_CHANGES,
        "gemma": GEMMA_CHANGES,
        "gemma2": GEMMA2_CHANGES,
        "gemma3": GEMMA3_CHANGES,
        "bloom": BLOOM_CHANGES,
    }.items()
    for what, change in changes.items()
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Network]:
    networks: dict[str, Network] = {}

    def make(name: str) -> Network:
        if name not in networks:
            kind, config = FAMILY_NETWORKS[name]
            networks[name] = make_network(tmp_path_factory.mktemp(name), config, kind=kind)
        return networks[name]

    return make


@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_network_fails_the_check(made: Callable[[str], Network], change: str) -> None:
    name, changed = CHANGES[change]
    with pytest.raises(AssertionError, match="logits differ"):
        check_parity(changed(made(name)), made(name))


WINDOWED = (
    "mistral-32-mha-window",
    "phi3-16-mha-tied-window",
    "qwen2-8-mha-window",
    "gpt_neo-16",
    GEMMA2,
    GEMMA3,
)


@pytest.mark.parametrize("change", [-1, 1, None])
@pytest.mark.parametrize("name", WINDOWED)
def test_another_window_fails_the_check(
    made: Callable[[str], Network], name: str, change: int | None
) -> None:
    network = made(name)
    windows = network.spec.attention_windows
    assert windows is not None and max(window or 0 for window in windows) == 20
    other = tuple(window and change and window + change for window in windows)
    with pytest.raises(AssertionError, match="logits differ"):
        check_parity(with_spec(network, attention_windows=other), network)


@pytest.mark.parametrize("name", ["gpt_neo-16", GEMMA2, GEMMA3])
def test_the_other_layers_windows_fail_the_check(made: Callable[[str], Network], name: str) -> None:
    windows = made(name).spec.attention_windows
    assert windows is not None and windows != windows[::-1]
    with pytest.raises(AssertionError, match="logits differ"):
        check_parity(with_spec(made(name), attention_windows=windows[::-1]), made(name))
