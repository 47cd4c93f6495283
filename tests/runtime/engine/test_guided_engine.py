"""Guided answers of compiled engines: always in the language, whatever else an engine does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmasos.guide import Guide
from llmasos.outputs import FinishReason
from llmasos_builder.build import BuildOptions, build_plan
from llmasos_runtime.engine.engine import Engine, EngineOptions
from llmasos_runtime.load import load_engine
from made_engine import Collected, ask, executor_of

PROMPTS = [tuple((7 * i + j * j) % 250 for j in range(5 + 23 * i)) for i in range(5)]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "string", "maxLength": 6}, "a": {"type": "integer"}},
    "required": ["n", "a"],
    "additionalProperties": False,
}
GUIDES = [
    Guide.json_schema(SCHEMA),
    Guide.regex("[a-f]{3,9}-(yes|no)"),
    Guide.choice(["red", "green", "blue"]),
    Guide.json_schema({"type": "array", "items": {"type": "boolean"}, "maxItems": 4}),
    Guide.regex("(ab)+c"),
]


@pytest.fixture(scope="module")
def plan(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plan") / "plan"
    build_plan(tiny_llama, directory, BuildOptions(precision="f32"))
    return directory


def loaded(plan: Path, **options: Any) -> Engine:
    chosen = {"num_threads": 1, "kv_cache_bytes": 2**25, "reuse_prefixes": False, **options}
    return load_engine(plan, EngineOptions(**chosen))


@pytest.fixture(scope="module")
def engine(plan: Path) -> Iterator[Engine]:
    engine = loaded(plan, speculate=False)
    yield engine
    engine.close()


def together(engine: Engine, **params: Any) -> list[Collected]:
    with executor_of(engine)._changed:  # no step begins before all are there
        return [
            ask(engine, prompt, request_id=f"{i}", guide=guide, max_tokens=200, **params)
            for i, (prompt, guide) in enumerate(zip(PROMPTS, GUIDES, strict=True))
        ]


def texts(engine: Engine, **params: Any) -> list[str]:
    return [sink.text for sink in together(engine, **params)]


@pytest.mark.parametrize("params", [{}, {"temperature": 1.5, "seed": 3}, {"ignore_eos": True}])
def test_an_answer_is_in_the_language_and_ends_with_it(
    engine: Engine, params: dict[str, Any]
) -> None:
    sinks = together(engine, **params)
    person, word, colour, flags, row = (sink.text for sink in sinks)
    assert set(json.loads(person)) == {"n", "a"}
    assert re.fullmatch("[a-f]{3,9}-(yes|no)", word)
    assert colour in ("red", "green", "blue")
    assert all(isinstance(flag, bool) for flag in json.loads(flags))
    assert re.fullmatch("(ab)+c?", row)
    assert all(sink.last.finish_reason is FinishReason.STOP for sink in sinks[:4])


def test_tokens_are_the_same_alone_together_with_drafts_and_after_preemption(
    plan: Path, engine: Engine
) -> None:
    sampling: dict[str, Any] = {"temperature": 0.9, "seed": 5, "repetition_penalty": 1.1}
    expected = texts(engine, **sampling)
    alone = [
        ask(engine, prompt, guide=guide, max_tokens=200, **sampling).text
        for prompt, guide in zip(PROMPTS, GUIDES, strict=True)
    ]
    assert alone == expected
    for options in ({"speculate": True}, {"reuse_prefixes": True, "speculate": False}):
        other = loaded(plan, **options)
        assert texts(other, **sampling) == expected
        other.close()
    block_bytes = 2**25 // engine.stats().num_blocks
    narrow = loaded(plan, kv_cache_bytes=16 * block_bytes, speculate=False)
    assert texts(narrow, **sampling) == expected
    narrow.close()


def test_an_answer_that_is_cut_off_is_the_beginning_of_one(engine: Engine) -> None:
    sink = ask(engine, PROMPTS[0], guide=Guide.regex("a{50}"), max_tokens=7)
    assert sink.last.finish_reason is FinishReason.LENGTH
    assert sink.text == "a" * len(sink.text)


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "integer", "minimum": 0, "maximum": 99},
            {"type": "boolean"},
            {"type": "null"},
            {"enum": ["x", 5, None]},
            {"type": "string", "maxLength": 4},
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: {"type": "array", "items": one, "maxItems": 2}),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2).map(
            lambda fields: {
                "type": "object",
                "properties": fields,
                "required": sorted(fields),
                "additionalProperties": False,
            }
        ),
    ),
    max_leaves=4,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=SCHEMAS, seed=st.integers(0, 99))
def test_an_answer_validates_against_its_schema(
    engine: Engine, schema: dict[str, Any], seed: int
) -> None:
    import jsonschema

    guide = Guide.json_schema(schema)
    sink = ask(engine, PROMPTS[1], guide=guide, max_tokens=400, temperature=1.0, seed=seed)
    if sink.last.finish_reason is FinishReason.STOP:
        jsonschema.validate(json.loads(sink.text), schema)
