"""Which networks can be compiled: one row for each name that config.json may give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmasos.errors import UnsupportedArchitectureError

from llmasos_builder.architectures.config import Config
from llmasos_builder.architectures.gpt2 import gpt2_spec
from llmasos_builder.architectures.gpt_neox import gpt_neox_spec
from llmasos_builder.architectures.llama import llama_spec
from llmasos_builder.architectures.mistral import mistral_spec
from llmasos_builder.architectures.opt import opt_spec
from llmasos_builder.architectures.phi3 import phi3_spec
from llmasos_builder.architectures.qwen import qwen2_spec, qwen3_spec
from llmasos_builder.architectures.spec import DecoderSpec


@dataclass(frozen=True, slots=True)
class Architecture:
    """model_type: as config.json gives it. spec: what reads the rest of it."""

    model_type: str
    spec: Callable[[Config], DecoderSpec]


SUPPORTED: Mapping[str, Architecture] = {
    "GPT2LMHeadModel": Architecture("gpt2", gpt2_spec),
    "GPTNeoXForCausalLM": Architecture("gpt_neox", gpt_neox_spec),
    "LlamaForCausalLM": Architecture("llama", llama_spec),
    "MistralForCausalLM": Architecture("mistral", mistral_spec),
    "OPTForCausalLM": Architecture("opt", opt_spec),
    "Phi3ForCausalLM": Architecture("phi3", phi3_spec),
    "Qwen2ForCausalLM": Architecture("qwen2", qwen2_spec),
    "Qwen3ForCausalLM": Architecture("qwen3", qwen3_spec),
}


def decoder_spec(config: Mapping[str, Any]) -> DecoderSpec:
    """The network that a checkpoint's config.json describes.

    Raises UnsupportedArchitectureError for a network, or a value of a field, that is not
    supported, and CheckpointError for a field that is missing or wrong; both name it.
    """
    architecture = _architecture(config)
    fields = Config(config)
    fields.must_be("model_type", architecture.model_type)
    fields.must_be("quantization_config", None)
    fields.must_be("is_encoder_decoder", False)
    return architecture.spec(fields)


def _architecture(config: Mapping[str, Any]) -> Architecture:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if isinstance(name, str) and name in SUPPORTED:
        return SUPPORTED[name]
    found = "no architecture" if name is None else f"the architecture {name!r}"
    raise UnsupportedArchitectureError(
        f"config.json names {found}, {', '.join(sorted(SUPPORTED))} are supported"
    )
