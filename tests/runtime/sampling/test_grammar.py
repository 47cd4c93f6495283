"""Guides: which tokens may follow, whatever was drafted, and what is refused in time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from llmasos.errors import InvalidRequestError
from llmasos.guide import Guide
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.sampling.grammar import Grammars, GrammarState

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.load(tiny_llama)


@pytest.fixture(scope="module")
def grammars(tokenizer: Tokenizer) -> Grammars:
    size = tokenizer.vocab_size
    return Grammars(tokenizer, vocab_size=size, eos_token_ids=tokenizer.eos_token_ids)


def state(grammars: Grammars, tokenizer: Tokenizer, guide: Guide, ids: list[int]) -> GrammarState:
    """ids: the output, behind a prompt of one token."""
    return GrammarState(
        grammars.compiled(guide), [0, *ids], num_prompt_tokens=1, vocab_size=tokenizer.vocab_size
    )


def may_follow(
    grammars: Grammars, tokenizer: Tokenizer, guide: Guide, text: str, drafts: str = ""
) -> set[int]:
    ids = tokenizer.encode(text, add_special_tokens=False) if text else []
    guessed = tokenizer.encode(drafts, add_special_tokens=False) if drafts else []
    allowed = state(grammars, tokenizer, guide, ids).allowed(tuple(guessed))
    assert allowed is not None
    return {*allowed.nonzero()[0].tolist()}


def ids_of(tokenizer: Tokenizer, characters: str) -> set[int]:
    return {tokenizer.encode(one, add_special_tokens=False)[0] for one in characters}


def test_only_what_stays_in_the_language_may_follow(
    grammars: Grammars, tokenizer: Tokenizer
) -> None:
    guide = Guide.regex("ab[0-9]c?")
    assert may_follow(grammars, tokenizer, guide, "") == ids_of(tokenizer, "a")
    assert may_follow(grammars, tokenizer, guide, "ab") == ids_of(tokenizer, "0123456789")
    end = {*tokenizer.eos_token_ids}
    assert may_follow(grammars, tokenizer, guide, "ab7") == ids_of(tokenizer, "c") | end
    assert may_follow(grammars, tokenizer, guide, "ab7c") == end


def test_a_draft_counts_as_if_it_were_output(grammars: Grammars, tokenizer: Tokenizer) -> None:
    guide = Guide.json_schema(SCHEMA)
    text = '{"name": "é", "age": 12}'
    for cut in range(1, len(text)):
        guessed = may_follow(grammars, tokenizer, guide, text[:1], text[1:cut])
        assert guessed == may_follow(grammars, tokenizer, guide, text[:cut])


def test_drafts_that_lead_out_have_no_mask_and_change_nothing(
    grammars: Grammars, tokenizer: Tokenizer
) -> None:
    one = state(grammars, tokenizer, Guide.regex("abc"), [])
    wrong = tuple(tokenizer.encode("ax", add_special_tokens=False))
    assert one.allowed(wrong) is None
    allowed = one.allowed()
    assert allowed is not None
    assert {*allowed.nonzero()[0].tolist()} == ids_of(tokenizer, "a")


def test_special_tokens_are_never_text(grammars: Grammars, tokenizer: Tokenizer) -> None:
    anything = may_follow(grammars, tokenizer, Guide.regex("(.|\n)*"), "x")
    assert anything & tokenizer.special_ids <= {*tokenizer.eos_token_ids}


@pytest.mark.parametrize(
    ("guide", "text"),
    [
        (Guide.json(), '{"a": [1, null]}'),
        (Guide.json_schema(json.dumps(SCHEMA)), '{"name": "x", "age": 1}'),
        (Guide.grammar('root ::= "yes" | "no"'), "no"),
        (Guide.grammar('start: "yes" | "no"'), "yes"),
        (Guide.choice(["red", 'gr"een']), 'gr"een'),
        (
            Guide(
                "structural_tag",
                json.dumps(
                    {
                        "structures": [{"begin": "<f>", "schema": SCHEMA, "end": "</f>"}],
                        "triggers": ["<f"],
                    }
                ),
            ),
            'text <f>{"name": "x", "age": 1}</f>',
        ),
    ],
)
def test_each_kind_takes_its_own_text_to_the_end(
    grammars: Grammars, tokenizer: Tokenizer, guide: Guide, text: str
) -> None:
    assert {*tokenizer.eos_token_ids} & may_follow(grammars, tokenizer, guide, text)


BOMB: dict[str, Any] = {"type": "string"}
for _ in range(60):
    BOMB = {"anyOf": [{"type": "array", "items": BOMB}, {"type": "object"}]}


@pytest.mark.parametrize(
    "guide",
    [
        Guide.json_schema({"type": "foo"}),
        Guide.json_schema("{"),
        Guide.json_schema(BOMB),
        Guide.json_schema("[" * 100_000),
        Guide.json_schema({"type": "object", "properties": {"a": {"not": {}}}}),
        Guide.regex("("),
        Guide.grammar("root ::= missing"),
        Guide.grammar('root ::= "' + "x" * 70_000 + '"'),
        Guide("structural_tag", "{}"),
        Guide("structural_tag", '{"structures": [{"begin": "a"}], "triggers": ["b"]}'),
    ],
)
def test_what_cannot_be_compiled_is_refused_in_one_line_and_in_time(
    grammars: Grammars, guide: Guide
) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidRequestError, match=f"guide of kind {guide.kind} cannot be used: "):
        grammars.compiled(guide)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "guide",
    [
        Guide.regex("((a{1,1000}){1,1000}){1,1000}"),
        Guide.json_schema({"enum": [f"x{i}" for i in range(20_000)]}),
        Guide.json_schema({"type": "string", "maxLength": 10**9}),
    ],
)
def test_what_counts_high_costs_no_time(grammars: Grammars, guide: Guide) -> None:
    started = time.monotonic()
    grammars.compiled(guide)
    assert time.monotonic() - started < 5


def test_compiled_guides_are_kept_up_to_a_number(tokenizer: Tokenizer) -> None:
    size = tokenizer.vocab_size
    grammars = Grammars(tokenizer, vocab_size=size, eos_token_ids=tokenizer.eos_token_ids)
    for number in range(200):
        grammars.compiled(Guide.regex(f"a{number}"))
    assert len(grammars._kept) == 64


def test_a_model_without_an_end_token_takes_no_guide(tokenizer: Tokenizer) -> None:
    grammars = Grammars(tokenizer, vocab_size=tokenizer.vocab_size, eos_token_ids=())
    with pytest.raises(InvalidRequestError, match="a guide needs an end token"):
        grammars.compiled(Guide.json())


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("xml", "a", "must be one of json, json_schema, regex"),
        ("regex", "", "a guide of kind regex needs a text"),
        ("regex", 5, "the text of a guide must be str"),
        ("regex", "x" * (1 << 21), "at most 1048576 are allowed"),
    ],
)
def test_a_wrong_guide_is_refused_by_name(kind: Any, text: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        Guide(kind, text)
