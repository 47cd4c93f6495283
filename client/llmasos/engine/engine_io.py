"""Names and sizes that the compiler of an engine and the runner of it must agree on.

The builder writes these names into an engine, and the runtime looks for them there. Neither
imports the other, so they are said here once: files of a plan, inputs and outputs, KV caches,
optimization profiles, the tokens of a KV block, and the GPUs and packages of each TensorRT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

CachePart = Literal["key", "value"]
CACHE_PARTS: tuple[CachePart, CachePart] = ("key", "value")

# Every engine.
INPUT_IDS = "input_ids"
POSITION_IDS = "position_ids"
LOGITS = "logits"
_CACHE = re.compile(r"(key|value)_cache\.(\d+)")

# OpenVINO: the standard stateful IR.
OPENVINO_FILE = "openvino_model.xml"
OPENVINO_WEIGHTS_FILE = "openvino_model.bin"
ATTENTION_MASK = "attention_mask"
BEAM_IDX = "beam_idx"
LAST_HIDDEN_STATE = "last_hidden_state"
"""The tensor inside the IR from which the logits are computed."""
OPENVINO_BLOCK_SIZE = 32
"""Tokens of one KV block."""
_STATE = re.compile(r"past_key_values\.(\d+)\.(key|value)")

# OpenVINO: networks that see each sequence once, over the packed tokens of several sequences.
TOKEN_TYPE_IDS = "token_type_ids"
PACKED_AT = "packed_at"
"""[sequences, longest]: where each token of a sequence is among the packed ones; any value behind
its end.
"""
PADDED_AT = "padded_at"
"""[tokens]: where each packed token is among sequences x longest places."""
LENGTHS = "lengths"
"""[sequences]: the tokens of each."""
SELECTED = "selected"
"""[n]: the packed tokens whose prediction is wanted."""
ENCODED = "encoded"
"""The output: a row for each sequence, packed token or selected token, as the task is."""

# OpenVINO: an encoder, and a decoder that attends to its tokens.
ENCODER_FILE = "openvino_encoder.xml"
ENCODER_WEIGHTS_FILE = "openvino_encoder.bin"
ENCODED_MASK = "encoded_mask"
"""[rows, tokens]: 1 where the row's encoder has a token."""

# TensorRT.
KV_WRITE_INDEX = "kv_write_index"
LAST_TOKEN_INDEX = "last_token_index"
CANDIDATE_LOGITS = "candidate_logits"
CANDIDATE_IDS = "candidate_ids"
LOG_SUM_EXP = "log_sum_exp"
HIDDEN_STATES, HIDDEN_STATES_OUT = "hidden_states", "hidden_states_out"
"""What a pipeline stage takes from the stage before it, and gives to the one after it."""
STEP_INPUTS = (INPUT_IDS, POSITION_IDS, KV_WRITE_INDEX, LAST_TOKEN_INDEX)
STEP_TENSORS = (*STEP_INPUTS, CANDIDATE_LOGITS, CANDIDATE_IDS, LOG_SUM_EXP, LOGITS)
"""Inputs and outputs of an engine of one stage beside its KV caches; see docs/gpu.md."""
PREFILL_PROFILE, DECODE_PROFILE = 0, 1
"""Numbers of an engine's optimization profiles."""
RTX_GPUS: Mapping[str, str] = {
    "sm75": "Turing: GeForce RTX 20, T4",
    "sm80": "Ampere: A100, A30",
    "sm86": "Ampere: GeForce RTX 30, A10, A40",
    "sm89": "Ada: GeForce RTX 40, L4, L40S",
    "sm120": "Blackwell: GeForce RTX 50, RTX PRO Blackwell",
    "sm121": "Blackwell: DGX Spark",
}
"""The GPUs that TensorRT-RTX compiles for and runs on, oldest first."""
TENSORRT_EXTRAS: Mapping[str, str] = {
    "tensorrt_rtx": "llmasos[tensorrt-rtx]",
    "tensorrt": "llmasos[tensorrt]",
}
"""The requirement that installs a TensorRT library, by the library's name in Python."""


def cache_name(part: CachePart, layer: int) -> str:
    """Name of the input that is the key or value cache of a layer."""
    return f"{part}_cache.{layer}"


def encoded_name(part: CachePart, layer: int) -> str:
    """Name of the encoder's output, and the decoder's input, that has the keys or values of its
    tokens for a layer of the decoder.
    """
    return f"encoded_{part}.{layer}"


def is_encoded_key(name: str) -> bool:
    """Whether an input of a decoder is the keys of its encoder for one layer."""
    return name.startswith("encoded_key.")


def is_cache(name: str) -> bool:
    """Whether an input of an engine is a KV cache."""
    return _CACHE.fullmatch(name) is not None


def updated_cache(name: str) -> str:
    """Name of the TensorRT output that is this cache after the step."""
    return name.replace("_cache.", "_cache_out.")


def state_name(part: CachePart, layer: int) -> str:
    """Name of the variable of an IR that keeps the keys or values of a layer."""
    return f"past_key_values.{layer}.{part}present.{layer}.{part}"


def cache_of_state(state: str) -> str:
    """Name of the cache that takes the place of a variable which `state_name` named."""
    found = _STATE.match(state)
    assert found is not None, state
    layer, part = found.groups()
    return f"{part}_cache.{layer}"
