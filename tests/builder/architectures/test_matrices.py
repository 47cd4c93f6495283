"""Of an int4 network, embeddings, what has no groups and what is asked for stay in int8."""

from __future__ import annotations

import re
from typing import Any

import pytest
from llmasos.errors import InvalidRequestError
from llmasos_builder.architectures import Decoder, decoder_spec, matrices_in_int8
from networks import GPT2, LLAMA


def llama(**changes: Any) -> Decoder:
    fields = {"num_hidden_layers": 12, "tie_word_embeddings": True}
    return decoder_spec(LLAMA | fields | changes)


EMBEDDING = "model.embed_tokens"


@pytest.mark.parametrize("tied", [True, False])
def test_the_embedding_alone_stays_by_itself(tied: bool) -> None:
    assert matrices_in_int8(llama(tie_word_embeddings=tied)) == (EMBEDDING,)


def test_every_embedding_stays() -> None:
    spec = decoder_spec(GPT2)
    assert set(matrices_in_int8(spec)) == {spec.names.embedding, spec.names.positions}


def test_a_matrix_whose_input_has_no_groups_stays() -> None:
    spec = llama(intermediate_size=80)
    down = [f"model.layers.{layer}.mlp.down_proj" for layer in range(12)]
    assert matrices_in_int8(spec) == (EMBEDDING, *down)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*.down_proj", 12),
        ("down_proj", 12),
        ("model.layers.0.*", 7),
        ("layers.1", 7),
        ("self_attn", 4 * 12),
        ("layers.[01].self_attn.[qk]_proj", 4),
        ("model.layers.11.mlp.up_proj", 1),
        (EMBEDDING, 0),
        ("*", 7 * 12),
    ],
)
def test_a_pattern_may_leave_out_what_is_before_or_after_it(pattern: str, count: int) -> None:
    kept = matrices_in_int8(llama(), [pattern])
    assert kept[0] == EMBEDDING and len(kept) == 1 + count


def test_several_patterns_add_up_and_nothing_is_listed_twice() -> None:
    kept = matrices_in_int8(llama(), ["mlp", "down_proj", "layers.0"])
    assert len(kept) == len(set(kept)) == 1 + 3 * 12 + 4


@pytest.mark.parametrize("pattern", ["lm_head", "layers.12", "down", "model.norm", ""])
def test_a_pattern_that_matches_no_matrix_is_named(pattern: str) -> None:
    with pytest.raises(
        InvalidRequestError, match=rf"int4_except '{re.escape(pattern)}' matches no"
    ):
        matrices_in_int8(llama(), ["mlp", pattern])
