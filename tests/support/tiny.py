"""Checkpoints small enough to build in a second, with random weights: a Llama, and a Gemma 2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think></think>{% endif %}{% endif %}"
)


def write_tiny_llama(
    directory: Path, *, seed: int = 0, layers: int = 2, hidden: int = 64, inner: int = 128
) -> Path:
    """Write a Hugging Face directory: byte-level tokenizer, 259 tokens, four heads."""
    directory.mkdir(parents=True, exist_ok=True)
    config = _config(layers=layers, hidden=hidden, inner=inner)
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    _write_tokenizer(directory)
    save_file(_weights(config, seed=seed), directory / "model.safetensors")
    return directory


def write_tiny_gemma2(directory: Path, *, cap: float | None, window: int = 40) -> Path:
    """Write a Gemma 2 of such sizes, whose first layer looks back through the window.

    cap: of its attention scores; one of 1 or less bites.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = _config(layers=2, hidden=64, inner=128) | {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 16,
        "rms_norm_eps": 1e-6,
        "sliding_window": window,
        "attn_logit_softcapping": cap,
        "final_logit_softcapping": 30.0,
    }
    del config["hidden_act"], config["mlp_bias"]
    (directory / "config.json").write_text(json.dumps(config, indent=2))
    _write_tokenizer(directory)
    weights = _weights(config, seed=0)
    weights["model.embed_tokens.weight"] /= 8  # which Gemma multiplies by the root of its width
    for name, norm in list(weights.items()):
        if norm.ndim == 1:
            weights[name] = norm - 1  # which Gemma adds
        if name.endswith("post_attention_layernorm.weight"):
            for other in ("pre", "post"):
                weights[name.replace("post_attention", f"{other}_feedforward")] = norm[::-1] - 1
    save_file(weights, directory / "model.safetensors")
    return directory


def _config(*, layers: int, hidden: int, inner: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": hidden // 4,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "vocab_size": 256 + len(SPECIAL_TOKENS),
        "bos_token_id": 256,
        "eos_token_id": 258,
        "torch_dtype": "float32",
    }


def _write_tokenizer(directory: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: index for index, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL_TOKENS])
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "bos_token": SPECIAL_TOKENS[0],
                "eos_token": SPECIAL_TOKENS[2],
                "chat_template": CHAT_TEMPLATE,
                "tokenizer_class": "PreTrainedTokenizerFast",  # not what the network's own is
            }
        )
    )


def begin_texts(directory: Path) -> None:
    """Let the tokenizer of a tiny checkpoint begin each text with its BOS token."""
    path, begin = str(directory / "tokenizer.json"), SPECIAL_TOKENS[0]
    tokenizer = Tokenizer.from_file(path)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    tokenizer.save(path)


def _weights(config: dict[str, object], *, seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0.0, 0.3, shape).astype(np.float32)

    def norm() -> NDArray[np.float32]:
        return (1.0 + rng.normal(0.0, 0.1, hidden)).astype(np.float32)

    sizes = [config[n] for n in ("num_hidden_layers", "hidden_size", "intermediate_size")]
    layers, hidden, inner = (size for size in sizes if isinstance(size, int))
    weights = {"model.embed_tokens.weight": draw(259, hidden), "model.norm.weight": norm()}
    for index in range(layers):
        at = f"model.layers.{index}."
        weights |= {
            f"{at}input_layernorm.weight": norm(),
            f"{at}post_attention_layernorm.weight": norm(),
            f"{at}self_attn.q_proj.weight": draw(hidden, hidden),
            f"{at}self_attn.k_proj.weight": draw(hidden // 2, hidden),
            f"{at}self_attn.v_proj.weight": draw(hidden // 2, hidden),
            f"{at}self_attn.o_proj.weight": draw(hidden, hidden),
            f"{at}mlp.gate_proj.weight": draw(inner, hidden),
            f"{at}mlp.up_proj.weight": draw(inner, hidden),
            f"{at}mlp.down_proj.weight": draw(hidden, inner),
        }
    return weights
