"""Fields of config.json that do not change what a network computes.

They concern training, sampling, storage or display, and `test_config_sweep` shows that they
change no logit of transformers. A field that is neither one of these nor read by the network's
definition is reported to the user.
"""

from __future__ import annotations

import re
from reprlib import repr as short
from typing import Any

NOTES = frozenset(
    {
        "_attn_implementation_autoset",
        "_commit_hash",
        "_name_or_path",
        "_num_labels",
        "_sliding_window_pattern",
        "architectures",
        "attention_softmax_in_fp32",
        "auto_map",
        "bias_dropout_fusion",
        "cache_implementation",
        "chunk_size_feed_forward",
        "dtype",
        "finetuning_task",
        "gradient_checkpointing",
        "id2label",
        "init_std",
        "initializer_range",
        "is_decoder",
        "is_llama_config",
        "label2id",
        "masked_softmax_fusion",
        "n_ctx",
        "name_or_path",
        "offset_alibi",
        "output_attentions",
        "output_hidden_states",
        "prefix",
        "pretraining_tp",
        "problem_type",
        "reorder_and_upcast_attn",
        "return_dict",
        "skip_bias_add",
        "skip_bias_add_qkv",
        "slow_but_exact",
        "task_specific_params",
        "tie_encoder_decoder",
        "tokenizer_class",
        "torch_dtype",
        "torchscript",
        "transformers.js_config",
        "transformers_version",
        "use_cache",
    }
)
# Dropouts, ids of tokens, the head of classifiers, what tools for training leave behind.
PATTERN = re.compile(
    r".*dropout(_prob|_rate)?|.*layerdrop|.*_pdrop|.*_token_id|summary_.*|unsloth_.*"
)
# What generation_config.json is for, and older files have here.
SAMPLING = frozenset(
    {
        "bad_words_ids",
        "begin_suppress_tokens",
        "diversity_penalty",
        "do_sample",
        "early_stopping",
        "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "length_penalty",
        "max_length",
        "max_new_tokens",
        "min_length",
        "no_repeat_ngram_size",
        "num_beam_groups",
        "num_beams",
        "num_return_sequences",
        "output_scores",
        "remove_invalid_values",
        "repetition_penalty",
        "return_dict_in_generate",
        "suppress_tokens",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
    }
)


def is_note(field: str) -> bool:
    return field in NOTES or field in SAMPLING or PATTERN.fullmatch(field) is not None


def said(fields: dict[str, Any], architecture: str) -> str:
    """One line about fields that were not read."""
    listed = ", ".join(f"{name} ({short(value)})" for name, value in sorted(fields.items()))
    return (
        f"config.json: {listed}: not read; the network is built as transformers' own "
        f"{architecture}, which does not read {'it' if len(fields) == 1 else 'them'} either"
    )
