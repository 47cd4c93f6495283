"""config.json with one field changed, and what transformers and LLMasOS make of it.

The network of each family is tiny, and its weights are drawn for the changed config, so that
sizes may change too. transformers refuses a config by any exception; LLMasOS must compute the
same logits, or refuse by a CheckpointError of one line.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import needs_torch  # noqa: F401
import numpy as np
import torch
from llmasos.errors import CheckpointError
from llmasos_builder.architectures import Decoder, decoder_spec
from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.architectures.tensors import check_tensors
from llmasos_builder.graph.reference import ReferenceGraph
from numpy.typing import NDArray
from transformers import AutoConfig, AutoModelForCausalLM

Array = NDArray[Any]
Raw = dict[str, Any]
TOKENS = np.random.default_rng(3).integers(0, 40, (1, 22))
TOLERANCE = 1e-4
_LARGE = 1 << 20  # what transformers would allocate


def _network(architecture: str, model_type: str, **fields: Any) -> Raw:
    return {"architectures": [architecture], "model_type": model_type, "vocab_size": 40, **fields}


_SIZES: Raw = {
    "pad_token_id": 0,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_GATED: Raw = _SIZES | {"intermediate_size": 48, "num_key_value_heads": 2}
_QWEN_WINDOW: Raw = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
_GEMMA: Raw = _GATED | {"head_dim": 16}
_TWO_KINDS: Raw = _GEMMA | {"sliding_window": 9, "query_pre_attn_scalar": 20}
FAMILIES: Mapping[str, Raw] = {
    "bloom": _network("BloomForCausalLM", "bloom", hidden_size=32, n_layer=3, n_head=4),
    "falcon": _network("FalconForCausalLM", "falcon", **_SIZES, ffn_hidden_size=48),
    "gemma": _network("GemmaForCausalLM", "gemma", **_GEMMA),
    "gemma2": _network(
        "Gemma2ForCausalLM",
        "gemma2",
        **_TWO_KINDS,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=7.0,
    ),
    "gemma3": _network("Gemma3ForCausalLM", "gemma3_text", **_TWO_KINDS, sliding_window_pattern=2),
    "gpt2": _network(
        "GPT2LMHeadModel", "gpt2", n_embd=32, n_layer=3, n_head=4, n_positions=64, n_inner=48
    ),
    "gpt_neo": _network(
        "GPTNeoForCausalLM",
        "gpt_neo",
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        max_position_embeddings=64,
        intermediate_size=48,
        window_size=9,
        attention_types=[[["global", "local"], 1]],
    ),
    "gpt_neox": _network("GPTNeoXForCausalLM", "gpt_neox", **_SIZES, intermediate_size=48),
    "llama": _network("LlamaForCausalLM", "llama", **_GATED),
    "mistral": _network("MistralForCausalLM", "mistral", **_GATED, sliding_window=9),
    "opt": _network("OPTForCausalLM", "opt", **_SIZES, ffn_dim=48, word_embed_proj_dim=24),
    "phi3": _network(
        "Phi3ForCausalLM", "phi3", **_GATED, sliding_window=9, partial_rotary_factor=0.5
    ),
    "qwen2": _network("Qwen2ForCausalLM", "qwen2", **_GATED, **_QWEN_WINDOW),
    "qwen3": _network("Qwen3ForCausalLM", "qwen3", **_GATED, **_QWEN_WINDOW, head_dim=16),
}


class Tensors:
    """A state_dict as a checkpoint's weights."""

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        self._state = {name: tensor.float().numpy() for name, tensor in state.items()}

    def names(self) -> frozenset[str]:
        return frozenset(self._state)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._state[name].shape)

    def load(self, name: str) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self._state[name]
        return values


def difference(raw: Raw) -> str | None:
    """What is wrong about a config; None where both agree, or LLMasOS refuses it by name."""
    spec = spec_or_refusal(raw)
    if isinstance(spec, str):
        return None
    expected = theirs(raw)
    if expected is None:
        return None
    logits, tensors = expected
    actual = _logits(spec, tensors)
    if isinstance(actual, str):
        return None
    logits = logits[: len(actual)]
    error = np.abs(actual - logits).max() / np.abs(logits).max()
    return None if error < TOLERANCE else f"logits differ by {error:.1e}"


def spec_or_refusal(raw: Raw) -> Decoder | str:
    try:
        return decoder_spec(copy.deepcopy(raw))
    except CheckpointError as error:
        assert "\n" not in str(error)
        return str(error)


def theirs(raw: Raw) -> tuple[Array, Tensors] | None:
    """transformers' logits [tokens, vocabulary] and tensors; None where it refuses the config."""
    if any(type(value) in {int, float} and abs(value) >= _LARGE for value in raw.values()):
        return None
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for a second one
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            network = _theirs(raw)
            for name, parameter in network.named_parameters():
                is_vector = parameter.ndim == 1
                noise = (0.1 if is_vector else 0.3) * torch.randn(parameter.shape)
                parameter.copy_(noise + (is_vector and name.endswith("weight")))
            logits = network(torch.tensor(TOKENS), return_dict=True).logits[0].double().numpy()
    except Exception:  # noqa: BLE001 - there is no one way in which it refuses
        return None
    finally:
        torch.set_num_threads(threads)
    return (logits, Tensors(network.state_dict())) if np.isfinite(logits).all() else None


def _theirs(raw: Raw) -> Any:
    config = AutoConfig.for_model(**copy.deepcopy(raw))
    if getattr(config, "attn_logit_softcapping", None) is not None:
        config._attn_implementation = "eager"  # no other bounds scores
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def _logits(spec: Decoder, tensors: Tensors) -> Array | str:
    """By the definition, as numpy computes it; or what is wrong with the tensors."""
    tokens = TOKENS[:, : spec.max_position_embeddings]
    spec = spec.for_length(tokens.size)
    try:
        check_tensors(spec, tensors)
    except CheckpointError as error:
        return str(error)
    graph = ReferenceGraph(tokens)
    define_decoder(spec, graph, lambda name, _shape: tensors.load(name), precision="f32")
    logits: Array = graph.logits[0]
    return logits


def fields_of(family: str) -> Raw:
    """What transformers' config class has, with its values here, and by all names it knows."""
    raw = FAMILIES[family]
    config = AutoConfig.for_model(**copy.deepcopy(raw))
    fields: Raw = json.loads(config.to_json_string(use_diff=False)) | raw
    aliases = {old: fields[new] for old, new in config.attribute_map.items()}
    return fields | aliases


def others(value: Any) -> Iterator[Any]:
    """Other values of the same type, null, other types, and extremes."""
    yield None
    if isinstance(value, bool):
        yield from (not value, 1, "true")
    elif isinstance(value, int):
        yield from (value * 2, value + 1, max(1, value // 2), 0, -1, 1 << 40)
        yield from (float(value), str(value), True)
    elif isinstance(value, float):
        yield from (value * 3, value / 2, 1, 0, -1.0, 1e30, float("nan"), str(value), False)
    elif isinstance(value, str):
        yield from ("gelu", "gelu_fast", "quick_gelu", "silu", "relu", "", 3, [value])
    elif isinstance(value, list):
        yield from ([], value[::-1], value[:-1], value + value[:1], 3, "x", [None])
    elif isinstance(value, dict):
        yield from ({}, 3, [], "x")
    else:
        yield from (True, False, 1, 0, 2, 0.5, "x", [], {})
