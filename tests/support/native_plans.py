"""Small networks built for target native, and what their engines and the reference compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from llmasos.engine.plan import PLAN_VERSION, CheckpointRecord, EnginePlan, Limits, Precision
from llmasos.engine.weight_format import stored_weights
from llmasos_builder.architectures import Decoder, decoder_spec
from llmasos_builder.architectures.decoder.decoder import define_decoder
from llmasos_builder.graph.quantizer import CPU_METHODS
from llmasos_builder.graph.recording import RecordingGraph
from llmasos_builder.native.compile import compile_native, kind_to_build
from llmasos_runtime.native.forward import NativeForward
from llmasos_runtime.native.load import load_native_model
from llmasos_runtime.packing import SAMPLED_POSITIONS, Inputs
from native_reference import QuantizedGraph
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Weights = dict[str, NDArray[np.float32]]
MAX_SEQ_LEN = 160
SMALL_LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 131,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 256,
    "attention_bias": True,
}
GEMMA2_FIELDS: dict[str, Any] = {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "attn_logit_softcapping": 5.0,
    "final_logit_softcapping": 3.0,
}
GEMMA3_FIELDS: dict[str, Any] = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
}
BLOOM: dict[str, Any] = {
    "architectures": ["BloomForCausalLM"],
    "model_type": "bloom",
    "vocab_size": 131,
    "hidden_size": 192,
    "n_layer": 2,
    "n_head": 3,
}


class Stored:
    """Weights as a checkpoint has them."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def names(self) -> set[str]:
        return set(self._weights)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._weights[name].shape

    def load(self, name: str) -> NDArray[np.float32]:
        return self._weights[name]


def spec_of(config: dict[str, Any]) -> Decoder:
    return decoder_spec(config).for_length(MAX_SEQ_LEN)


def random_weights(spec: Decoder, seed: int = 0) -> Weights:
    """Of every tensor that the network has; norms are near 1."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}

    def draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        spread = 0.3 if len(shape) > 1 else 0.1
        values = rng.normal(float("norm" in name and len(shape) == 1), spread, shape)
        weights[name] = values.astype(np.float32)
        return weights[name]

    define_decoder(spec, RecordingGraph(), draw, precision="int8")
    return weights


def build(
    spec: Decoder, weights: Weights, directory: Path, precision: Precision = "int8"
) -> EnginePlan:
    kind = kind_to_build()
    record = compile_native(
        spec,
        Stored(weights),  # type: ignore[arg-type]  # as much of it as a build asks for
        precision=precision,
        max_seq_len=MAX_SEQ_LEN,
        kind=kind,
        directory=directory,
        progress=lambda done, total: None,
    )
    return EnginePlan(
        version=PLAN_VERSION,
        name="small",
        target="native",
        architecture="any",
        precision=precision,
        weights=stored_weights(precision, CPU_METHODS[precision]),
        kv_cache_precision="u8",
        deterministic=True,
        limits=Limits(max_seq_len=MAX_SEQ_LEN, max_num_tokens=100, max_batch_size=8),
        vocab_size=spec.vocab_size,
        num_layers=spec.num_layers,
        num_kv_heads=spec.num_kv_heads,
        head_size=spec.head_size,
        eos_token_ids=(),
        checkpoint=CheckpointRecord(source="none", sha256="0" * 64),
        built_with={},
        native=record,
        files={},
    )


@contextmanager
def loaded(
    plan: EnginePlan, directory: Path, *, num_threads: int = 2, num_blocks: int = 40
) -> Iterator[NativeForward]:
    model = load_native_model(plan, directory, num_threads=num_threads, pin_threads=False)
    forward = model.forward(num_blocks=num_blocks)
    yield forward
    forward.close()


Row = tuple[Sequence[int], int, Sequence[int]]
"""Tokens, how many came before them, and the blocks of their sequence."""


def packed(rows: Sequence[Row]) -> Inputs:
    """Inputs of a step in which every position is sampled."""
    lengths = [len(tokens) for tokens, _, _ in rows]
    begins = np.cumsum([0, *lengths])
    tables = [table[: -(-(past + len(tokens)) // 32)] for tokens, past, table in rows]
    return {
        "input_ids": np.concatenate([np.array(tokens, np.int64) for tokens, _, _ in rows]),
        "position_ids": np.concatenate(
            [np.arange(past, past + len(tokens)) for tokens, past, _ in rows]
        ),
        "past_lens": np.array([past for _, past, _ in rows], np.int32),
        "subsequence_begins": begins.astype(np.int32),
        "block_indices": np.concatenate(tables).astype(np.int32),
        "block_indices_begins": np.cumsum([0, *map(len, tables)]).astype(np.int32),
        "max_context_len": np.array(max(past + len(tokens) for tokens, past, _ in rows), np.int32),
        SAMPLED_POSITIONS: np.arange(begins[-1]),
    }


def reference(
    spec: Decoder, weights: Weights, tokens: Sequence[int], precision: Precision = "int8"
) -> NDArray[np.float64]:
    graph = QuantizedGraph(np.array([tokens]), head_size=spec.head_size)
    define_decoder(spec, graph, lambda name, _: weights[name], precision=precision)
    logits: NDArray[np.float64] = graph.logits[0]
    return logits
