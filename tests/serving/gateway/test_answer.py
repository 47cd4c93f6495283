"""Reasoning and calls are found in an answer, however its text is cut into pieces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.sampling.grammar import Grammars
from llmasos_serving.gateway.answer.answer_reader import AnswerReader, Delta, message_of
from llmasos_serving.gateway.answer.tool_calls import CallFormat, call_format
from llmasos_serving.gateway.answer.tool_grammar import forced_call

HERMES = '<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call>'
LLAMA = '{"name": "f", "parameters": {"a": "é"}}'
MISTRAL = '[{"name": "f", "arguments": {"a": "é"}}]'
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=40)


def read(text: str, form: CallFormat | None, cuts: list[int] | None = None) -> list[Delta]:
    reader = AnswerReader(form)
    deltas: list[Delta] = []
    place, sizes = 0, list(cuts or [len(text)])
    while place < len(text):
        size = sizes.pop(0) if sizes else len(text)
        deltas += reader.push(text[place : place + size])
        place += size
    return [*deltas, *reader.finish()]


def message(text: str, form: CallFormat | None, cuts: list[int] | None = None) -> Delta:
    whole = message_of(read(text, form, cuts))
    for call in whole.get("tool_calls", ()):
        assert call.pop("id").startswith("call_")
    return whole


def called(whole: Delta) -> list[tuple[str, object]]:
    functions = [call["function"] for call in whole.get("tool_calls", ())]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (CallFormat.HERMES, HERMES),
        (CallFormat.LLAMA3, LLAMA),
        (CallFormat.LLAMA3, f"<|python_tag|>{LLAMA}"),
        (CallFormat.MISTRAL, MISTRAL),
        (CallFormat.MISTRAL, f"[TOOL_CALLS] {MISTRAL}"),
    ],
)
@given(cuts=CUTS)
def test_a_call_is_read_in_each_format(form: CallFormat, text: str, cuts: list[int]) -> None:
    whole = message(text, form, cuts)
    assert called(whole) == [("f", {"a": "é"})]
    assert whole["content"] is None


@given(cuts=CUTS)
def test_text_around_calls_stays_and_several_calls_are_counted(cuts: list[int]) -> None:
    deltas = read(f"I ask.\n{HERMES}\n{HERMES}", CallFormat.HERMES, cuts)
    assert message_of(deltas)["content"].strip() == "I ask."
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call["index"] for call in calls] == [0, 1]
    assert len({call["id"] for call in calls}) == 2
    assert called(message(f"{LLAMA}; {LLAMA}", CallFormat.LLAMA3)) == [("f", {"a": "é"})] * 2


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (CallFormat.HERMES, HERMES[:-13]),
        (CallFormat.HERMES, HERMES[:30]),
        (CallFormat.HERMES, "<tool_call>not JSON</tool_call>"),
        (CallFormat.HERMES, '<tool_call>{"name": 5}</tool_call>'),
        (CallFormat.HERMES, "a < b and <tool"),
        (CallFormat.LLAMA3, LLAMA[:-2]),
        (CallFormat.LLAMA3, '{"a": 1}'),
        (CallFormat.LLAMA3, '{"name": "f", "parameters": [1]}'),
        (CallFormat.LLAMA3, "Some text {}"),
        (CallFormat.MISTRAL, MISTRAL[:-1]),
        (CallFormat.MISTRAL, "[1] is a source"),
        (None, HERMES),
    ],
)
@given(cuts=CUTS)
def test_what_is_no_whole_call_stays_text(
    form: CallFormat | None, text: str, cuts: list[int]
) -> None:
    assert message(text, form, cuts) == {"role": "assistant", "content": text}


@given(cuts=CUTS)
def test_reasoning_is_kept_apart(cuts: list[int]) -> None:
    whole = message("<think>\nHm, 1 < 2.\n</think>\n\nYes </think> it is.", None, cuts)
    assert whole["reasoning_content"].strip() == "Hm, 1 < 2."
    assert whole["content"] == "Yes </think> it is."


@given(cuts=CUTS)
def test_reasoning_that_is_cut_off_stays_reasoning(cuts: list[int]) -> None:
    assert message("<think>Hm</th", None, cuts)["reasoning_content"] == "Hm</th"


@pytest.mark.parametrize("text", ["<thin", "a<think>b</think>", "", " x", "<thinking>"])
@given(cuts=CUTS)
def test_what_does_not_begin_with_a_thought_is_text(text: str, cuts: list[int]) -> None:
    assert message(text, None, cuts) == {"role": "assistant", "content": text}


def test_a_thought_comes_before_a_call() -> None:
    whole = message(f"<think>so</think>{HERMES}", CallFormat.HERMES)
    assert whole["reasoning_content"] == "so"
    assert called(whole) == [("f", {"a": "é"})]


def test_the_format_is_told_by_the_chat_template() -> None:
    assert call_format("… <tool_call>{{ call }}</tool_call>") is CallFormat.HERMES
    assert call_format("[AVAILABLE_TOOLS] … [TOOL_CALLS]") is CallFormat.MISTRAL
    assert call_format('{"name": …, "parameters": …}') is CallFormat.LLAMA3
    assert call_format("{{ messages }}") is None


@pytest.mark.parametrize("form", list(CallFormat))
def test_the_grammar_of_a_forced_call_takes_calls_that_are_read_back(
    form: CallFormat, tiny_llama: Path
) -> None:
    tokenizer = Tokenizer.load(tiny_llama)
    grammars = Grammars(
        tokenizer, vocab_size=tokenizer.vocab_size, eos_token_ids=tokenizer.eos_token_ids
    )
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    functions = [{"name": name, "parameters": parameters} for name in ("f", "g")]
    text = {CallFormat.HERMES: HERMES, CallFormat.LLAMA3: LLAMA, CallFormat.MISTRAL: MISTRAL}[form]
    matcher = grammars.compiled(forced_call(functions, form))
    assert matcher.consume_tokens(tokenizer.encode(text, add_special_tokens=False))
    assert matcher.is_accepting()
    other = grammars.compiled(forced_call(functions, form))
    assert not other.consume_tokens(tokenizer.encode(text.replace("f", "h", 1)))
