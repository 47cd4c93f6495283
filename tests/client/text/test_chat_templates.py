"""Conversations of every shape become the text that Hugging Face makes of them, or are refused."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import jinja2
import pytest
from llmasos.errors import InvalidRequestError
from llmasos.files.plain_json import MAX_BYTES, MAX_DEPTH
from llmasos.text.chat import ChatTemplate
from llmasos.text.chat_options import ChatOptions
from published_templates import TEMPLATES

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
Messages = list[dict[str, Any]]
REFUSALS = re.compile(
    r"(messages\[\d\]\.(content|tool_calls) (is not printed|cannot be given)"
    r"|(tools|documents) cannot be given|the chat template refused: "
    r"|continue_final_message (is set|cannot continue messages\[\d\]))"
)


def text_parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def turns(*contents: Any, system: Any = None) -> Messages:
    """A conversation that the user begins."""
    first = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    return first + [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]


def tool_use(arguments: Any, **of_the_call: Any) -> Messages:
    function = {"name": "weather", "arguments": arguments}
    call = {"id": "call_1", "type": "function", "function": function}
    return [
        {"role": "user", "content": "What is the weather in Łódź?"},
        {"role": "assistant", "tool_calls": [call], **of_the_call},
        {"role": "tool", "content": "21 degrees", "tool_call_id": "call_1", "name": "weather"},
    ]


CONVERSATIONS: dict[str, Messages] = {
    "one question": turns("Größe? 😀"),
    "a system message": turns("Hi", system="Be brief <b>&'\"."),
    "several turns": turns("user", " Paris\n", "And 'Rome'?", system="system"),
    "an answer to go on from": turns("Count", "One, two,"),
    "a thought of an earlier turn": turns("Hi", "<think>\nhm\n</think>\n\nHello", "Bye"),
    "reasoning beside the answer": [
        *turns("Hi"),
        {"role": "assistant", "content": "Hello", "reasoning_content": "hm"},
    ],
    "reasoning by another name": [
        *turns("Hi"),
        {"role": "assistant", "content": "Hello", "reasoning": "hm"},
    ],
    "one part": turns(text_parts("hello")),
    "two parts": turns(text_parts("hello", "world")),
    "parts everywhere": turns(
        text_parts("a", "b"), text_parts("c"), text_parts("d"), system=text_parts("s")
    ),
    "strings and parts": turns("a", "b", text_parts("it's", ' "d"\n'), system="s"),
    "an empty part": turns(text_parts("", "x")),
    "names": [{"role": "user", "name": "Ada", "content": "Hi"}],
    "fields that are None": [{"role": "user", "content": "Hi", "name": None, "tool_calls": None}],
    "a field that nobody knows": [{"role": "user", "content": "Hi", "x": {"y": [1, None]}}],
    "tool calls": tool_use({"city": "Łódź", "days": 2}),
    "tool calls of JSON": tool_use('{"city": "Łódź", "days": 2}'),
    "tool calls without arguments": tool_use({}),
    "tool calls with null content": tool_use({"city": "x"}, content=None),
    "tool calls with empty content": tool_use({"city": "x"}, content=""),
    "tool calls with a text": tool_use({"city": "x"}, content="Let me look."),
    "two tool calls": [
        *turns("Hi"),
        {
            "role": "assistant",
            "tool_calls": [tool_use({"n": i})[1]["tool_calls"][0] for i in (1, 2)],
        },
    ],
    "roles that do not alternate": turns("Hi") + turns("Hello"),
    "a developer": [{"role": "developer", "content": "Be brief"}, *turns("Hi")],
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "<&'>"}}}
OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no opening": {"add_generation_prompt": False},
    "an open end": {"continue_final_message": True},
    "no thinking": {"chat_template_kwargs": {"enable_thinking": False}},
    "thinking": {"chat_template_kwargs": {"enable_thinking": True, "unknown": [{"a": None}]}},
    "a date": {"chat_template_kwargs": {"date_string": "1 Jan 2030"}},
    "tools": {
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    },
    "no tools": {"tools": []},
    "documents": {"documents": [{"title": "T", "text": "A text"}]},
}


# Shapes that differ in what each of the options does to them; the others are tried with none.
OF_ALL_OPTIONS = ("several turns", "an answer to go on from", "two parts", "tool calls")
PYTHON_OR_JSON_TWICE = ("{'type': 'text'", "{'city'", '"{\\"city')


@pytest.fixture(scope="module")
def hugging_face() -> Callable[..., str]:
    import needs_torch  # noqa: F401
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **TOKENS)

    def render(source: str, messages: Messages, options: dict[str, Any]) -> str:
        given = {"add_generation_prompt": not options.get("continue_final_message"), **options}
        variables = given.pop("chat_template_kwargs", {})
        text = theirs.apply_chat_template(
            deepcopy(messages), chat_template=source, tokenize=False, **given, **variables
        )
        assert isinstance(text, str)
        return text

    return render


def texts_of(messages: Messages) -> list[str]:
    contents = [m.get("content") or "" for m in messages if not m.get("tool_calls")]
    return [part["text"] for content in contents for part in as_parts(content)]


def as_parts(content: Any) -> list[dict[str, str]]:
    return text_parts(content) if isinstance(content, str) else content


def is_whole(text: str, messages: Messages) -> bool:
    """Whether a template printed all of it, and printed it as text."""
    if any(sign in text for sign in PYTHON_OR_JSON_TWICE):
        return False
    return all(one.split("</think>")[-1].strip() in text for one in texts_of(messages))


def other_forms(messages: Messages) -> list[Messages]:
    """The same conversation with strings or parts, and objects or JSON, in the other's place."""
    forms = [messages]
    for kind in (str, list):
        changed = deepcopy(messages)
        for message in changed:
            parts = as_parts(message.get("content") or "")
            joined = "".join(part["text"] for part in parts)
            if "content" in message:
                message["content"] = joined if kind is str else text_parts(joined)
        forms.append(changed)
    forms.append([forms[1][0], *forms[2][1:]])  # a template of parts with a system message's string
    for form in list(forms):
        changed = deepcopy(form)
        for call in (call for message in changed for call in message.get("tool_calls") or []):
            given = call["function"]["arguments"]
            call["function"]["arguments"] = (
                json.loads(given)
                if isinstance(given, str)
                else json.dumps(given, ensure_ascii=False)
            )
        forms.append(changed)
    return forms


@pytest.mark.parity
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_conversation_becomes_hugging_faces_text_or_is_refused_by_name(
    name: str, hugging_face: Callable[..., str]
) -> None:
    template = ChatTemplate(TEMPLATES[name], tokens=TOKENS)
    for conversation, messages in CONVERSATIONS.items():
        for option in OPTIONS if conversation in OF_ALL_OPTIONS else ["nothing"]:
            given, before = OPTIONS[option], deepcopy(messages)
            where = f"{conversation} with {option}"
            theirs = [ask(hugging_face, TEMPLATES[name], m, given) for m in other_forms(messages)]
            try:
                text = template.render(messages, ChatOptions(**given))
            except InvalidRequestError as error:
                assert REFUSALS.match(str(error)), where
                if "refused" in str(error):
                    assert not any(theirs), where
            else:
                assert messages == before, where
                assert is_whole(text, messages), where
                if theirs[0] is not None and is_whole(theirs[0], messages):
                    assert text == theirs[0], where
                else:
                    assert text in theirs, where


def ask(
    hugging_face: Callable[..., str], source: str, messages: Messages, options: dict[str, Any]
) -> str | None:
    try:
        return hugging_face(source, messages, options)
    except (jinja2.TemplateError, TypeError, ValueError):
        return None


def render(source: str, messages: Any, **options: Any) -> str:
    return ChatTemplate(source, tokens=TOKENS).render(messages, ChatOptions(**options))


def test_parts_are_pieces_of_one_text() -> None:
    messages = turns(text_parts("hello", "world"))
    for name in ("chatml", "parts alone", "the first part alone", "gemma 3"):
        assert "helloworld" in render(TEMPLATES[name], messages)
    assert render("{{ messages[0].content }}", turns([])) == ""


def test_each_template_prints_what_users_send_most() -> None:
    for name, source in TEMPLATES.items():
        for conversation in ("one question", "one part", "two parts", "an answer to go on from"):
            assert render(source, CONVERSATIONS[conversation]), name


@pytest.mark.parametrize(
    ("source", "messages", "field"),
    [
        ("{{ messages[0].content }}", turns("a", "b"), r"messages\[1\].content"),
        ("user", turns("user"), r"messages\[0\].content"),
        (
            "{{ messages[0].content[0].text[:2] }}",
            turns(text_parts("abc")),
            r"messages\[0\].content",
        ),
        (TEMPLATES["phi 3"], [{"role": "tool", "content": "x"}], r"messages\[0\].content"),
        (
            "{% for m in messages %}{{ m.content }}{{ m.tool_calls | length }}{% endfor %}",
            tool_use({"city": "x"}),
            r"messages\[1\].tool_calls",
        ),
    ],
)
def test_what_no_template_prints_is_an_error_that_names_its_message(
    source: str, messages: Messages, field: str
) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{field} is not printed by the model's chat"):
        render(source, messages)


def test_a_template_that_marks_would_upset_is_read_by_what_it_prints() -> None:
    source = (
        "{% for m in messages %}{% if m.content | length > 9 %}{{ raise_exception('long') }}"
        "{% endif %}{{ m.role if m.role == 'assistant' else m.content }}{% endfor %}"
    )
    assert render(source, turns("short")) == "short"
    with pytest.raises(InvalidRequestError, match=r"messages\[1\].content is not printed"):
        render(source, turns("short", "lost"))
    with pytest.raises(InvalidRequestError, match="the chat template refused: long"):
        render(source, turns("0123456789"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": "[]"}, "tools must be a list of objects, got str"),
        ({"tools": [print]}, r"tools\[0\] must be a JSON object, got .*; give a function's JSON"),
        ({"tools": ["f"]}, r"tools\[0\] must be a JSON object, got str"),
        ({"tools": [{"f": {1}}]}, r"tools\[0\].f must be JSON data, got set"),
        ({"tools": [{"f": float("nan")}]}, r"tools\[0\].f must be a finite number, got nan"),
        ({"tools": [{"f": 1 << 64}]}, r"tools\[0\].f is an integer of more than 64 bits"),
        ({"tools": [{1: 2}]}, r"tools\[0\] has the key 1, which is not a string"),
        ({"tools": [{"f": "\ud800"}]}, r"tools\[0\].f is not valid Unicode: a lone surrogate"),
        ({"documents": {"text": "x"}}, "documents must be a list of objects, got dict"),
        ({"tools": [{"f": "x" * MAX_BYTES}]}, f"tools takes more than {MAX_BYTES} bytes"),
        ({"chat_template_kwargs": [1]}, "chat_template_kwargs must be a JSON object, got list"),
        ({"chat_template_kwargs": {"f": print}}, "chat_template_kwargs.f must be JSON data, got"),
        (
            {"chat_template_kwargs": {"tools": []}},
            "chat_template_kwargs has tools, which is also an argument",
        ),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs has messages, which is"),
        ({"chat_template_kwargs": {"bos_token": ""}}, "chat_template_kwargs has bos_token, which"),
        ({"chat_template_kwargs": {"self": 1}}, "has self, which is not a variable name"),
        ({"chat_template_kwargs": {"raise_exception": 1}}, "has raise_exception, which is no"),
        ({"chat_template": 1}, "chat_template must be the name of a template, got 1"),
        ({"add_generation_prompt": "no"}, "add_generation_prompt must be true or false, got 'no'"),
        ({"continue_final_message": "content"}, "continue_final_message must be true or false"),
        (
            {"continue_final_message": True, "add_generation_prompt": True},
            "continue_final_message and add_generation_prompt exclude each other",
        ),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        ChatOptions(**options)


def test_deep_and_endless_data_is_refused_in_one_line() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = [endless]
    with pytest.raises(
        InvalidRequestError, match=f"tools is nested deeper than {MAX_DEPTH} levels"
    ):
        ChatOptions(tools=[endless])
    deep = json.loads('{"a":' * 500 + "1" + "}" * 500)
    with pytest.raises(InvalidRequestError, match="documents is nested deeper than"):
        ChatOptions(documents=[deep])
    with pytest.raises(InvalidRequestError, match="messages is nested deeper than"):
        render(TEMPLATES["chatml"], [{"role": "user", "content": "x", "y": deep}])
    calls = tool_use("[" * 100_000)
    assert "[[[" in render(TEMPLATES["qwen3"], calls)  # no JSON that could be read: as it is


def test_many_messages_and_long_keys_take_no_long_time() -> None:
    started = time.thread_time()  # of this thread alone, whatever else the machine does
    many = [{"role": "user", "content": "a"}] * 60_000
    assert render("{% for m in messages %}{{ m.content }}{% endfor %}", many) == "a" * 60_000
    values: dict[str, Any] = {"k" * (4 << 20): [{"x": index} for index in range(50_000)]}
    assert ChatOptions(chat_template_kwargs=values).chat_template_kwargs == values
    assert time.thread_time() - started < 5.0
    with pytest.raises(InvalidRequestError) as caught:
        ChatOptions(tools=[{"k" * (4 << 20): print}])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("source", "messages", "message"),
    [
        (TEMPLATES["qwen2.5"], tool_use({})[:2], r"messages\[1\] has no content"),
        (
            "{% for m in messages %}{{ m.content | replace('abc', '') }}{% endfor %}",
            turns("abc"),
            r"cannot continue messages\[0\]: the model's chat template changes it",
        ),
    ],
)
def test_a_message_that_cannot_be_continued_is_refused_by_name(
    source: str, messages: Messages, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        render(source, messages, continue_final_message=True)


def test_a_continued_message_ends_the_text() -> None:
    ends = {"chatml": "two, ", "qwen3": "two, ", "parts alone": "two, ", "llama 3": "two,"}
    for name, end in ends.items():  # Llama 3's template trims messages
        text = render(TEMPLATES[name], turns("Count", "One, two, "), continue_final_message=True)
        assert text.endswith(end), name
