"""Chat templates render as Hugging Face renders them, and a hostile one gets nowhere."""

from __future__ import annotations

import time
from typing import Any

import pytest
from llmasos.errors import InvalidRequestError
from llmasos.text.chat import MAX_TEMPLATE_CHARACTERS, ChatTemplate
from llmasos.text.chat_options import ChatOptions

CONVERSATION = [
    {"role": "system", "content": "Be brief <b>&'\"."},
    {"role": "user", "content": "Größe? 😀"},
    {"role": "assistant", "content": " 3 m\n"},
    {"role": "user", "content": ""},
]
# Made for this test, out of what published templates use.
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "blocks and whitespace": (
        "{%- if messages[0].role == 'system' -%}\n"
        "    {%- set system = messages[0].content | trim -%}\n"
        "    {%- set rest = messages[1:] -%}\n"
        "{%- endif -%}\n"
        "  {% for m in rest %}\n"
        "  {{- bos_token ~ m.role | upper ~ ':' ~ loop.index0 ~ '/' ~ loop.length }}\n"
        "  {% if loop.last %} last {% else %} more {% endif %}\n"
        "{% endfor %}\n"
    ),
    "namespace, macro and loop controls": (
        "{% macro turn(m, n=1) %}[{{ n }} {{ m.content | tojson }}]{% endmacro %}"
        "{% set ns = namespace(n=0, text='') %}"
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "{% set ns.n = ns.n + 2 %}{% set ns.text = ns.text + turn(m, n=ns.n) %}"
        "{% if ns.n >= 4 %}{% break %}{% endif %}{% endfor %}{{ ns.text }}{{ ns.n % 3 }}"
    ),
    "filters and methods": (
        "{{ messages | map(attribute='role') | join(', ') }}|"
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}|"
        "{{ messages[1].content.replace('ö', 'oe').split('?')[0] }}|"
        "{{ '-'.join(['a', 'b']) }}|{{ '%s=%03d' % ('x', 7) }}|{{ '{:>5}'.format('y') }}|"
        "{{ {'b': 1, 'a': [none, true]} | tojson(indent=2) }}|{{ range(3) | list }}|"
        "{{ ('ab' * 2) | replace('b', '<') }}|{{ 2 ** 10 }}|{{ dict(a=1) }}"
    ),
    "generation blocks": (
        "{% for m in messages %}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}{% endgeneration %}"
        "{% else %}{{ m.role }}{% endif %}{% endfor %}"
    ),
    "no tools": (
        "{% if tools is not none %}tools{% endif %}{% if documents %}documents{% endif %}"
        "{% for tool in tools or [] %}{{ tool }}{% else %}no tool{% endfor %}"
    ),
}


BLANK = [{"role": "user", "content": ""}]
ALL_TEXTS = "{{ messages | map(attribute='content') | join('|') }}"


def doubled(start: str, operator: str) -> str:
    step = f"{{% set n.t = n.t {operator} n.t %}}"
    return f"{{% set n = namespace(t={start}) %}}{{% for i in range(99) %}}{step}{{% endfor %}}"


def render(source: str, messages: Any = CONVERSATION, *, generation: bool = True) -> str:
    template = ChatTemplate(source, tokens={"bos_token": "<s>", "eos_token": "</s>"})
    return template.render(messages, ChatOptions(add_generation_prompt=generation))


@pytest.mark.parity
@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("generation", [True, False])
def test_rendering_equals_hugging_face(name: str, generation: bool) -> None:
    import needs_torch  # noqa: F401
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>"
    )
    expected = theirs.apply_chat_template(
        CONVERSATION,
        chat_template=TEMPLATES[name] + ALL_TEXTS,
        tokenize=False,
        add_generation_prompt=generation,
    )
    assert render(TEMPLATES[name] + ALL_TEXTS, generation=generation) == expected


def test_the_date_of_today_can_be_written() -> None:
    assert render("{{ strftime_now('%Y') }}", BLANK) == time.strftime("%Y")


def test_a_template_can_refuse() -> None:
    with pytest.raises(InvalidRequestError, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", "messages must be a list, got str"),
        ({"role": "user"}, "messages must be a list, got dict"),
        (None, "messages must be a list, got NoneType"),
        ([], "at least one message"),
        (["x"], r"messages\[0\] must be an object, got str"),
        ([{"role": "user"}], r"messages\[0\] has no content"),
        ([{"content": "x"}], r"messages\[0\] has no role"),
        ([{"role": "", "content": "x"}], r"messages\[0\].role must be a non-empty string"),
        ([{"role": 3, "content": "x"}], r"messages\[0\].role must be a non-empty string, got 3"),
        ([{"role": "user", "content": None}], r"messages\[0\] has no content"),
        ([{"role": "user", "content": {"a": 1}}], r"messages\[0\].content must be a string or a"),
        ([{"role": "user", "content": "x", 5: 1}], r"messages\[0\] has the key 5"),
        ([{"role": "user", "content": "x", "at": time.gmtime}], r"messages\[0\].at must be JSON"),
        ([{"role": "assistant", "tool_calls": {}}], r"messages\[0\].tool_calls must be a list"),
        ([{"role": "assistant", "tool_calls": [1]}], r"messages\[0\].tool_calls\[0\] must be an"),
        (
            [{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "image"}]}],
            r"messages\[1\].content\[0\] must be a text part, got 'image'",
        ),
        ([{"role": "user", "content": ["x"]}], r"content\[0\] must be a text part, got 'str'"),
        (
            [{"role": "user", "content": [{"type": "text", "text": 1}]}],
            r"content\[0\].text must be a string, got int",
        ),
    ],
)
def test_malformed_messages_are_refused_by_name(messages: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        render("x", messages)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__ }}",
        "{{ render.__globals__ }}",
        "{{ raise_exception.__globals__['jinja2'] }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ dict.mro() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ loop.__class__ }}",
        "{% set n = namespace() %}{% set n.__class__ = 1 %}",
        "{{ ''|attr('__class__') }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ messages.append({}) }}",
        "{{ messages[0].clear() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ lipsum.__globals__ }}",
    ],
)
def test_a_hostile_template_reaches_nothing(source: str) -> None:
    try:
        assert render(source, BLANK) == ""
    except InvalidRequestError as error:
        assert str(error).startswith("the chat template")


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        doubled("'aa'", "~"),
        doubled("'aa'", "+"),
        doubled("[1]", "+"),
        "{{ 'a' * 9999999999 }}",
        "{{ [0] * 9999999999 }}",
        "{{ 9 ** 9 ** 9 ** 9 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ 'a'.ljust(9999999999) }}",
        "{{ 'a' | center(9999999999) }}",
        "{{ range(9999999999) | list }}",
        "{% set t = 'a' * 99999 %}{{ t | replace('a', t) }}",
        "{% set t = 'a' * 99999 %}{{ t.replace('a', t) }}",
        "{% set t = 'a' * 99999 %}{{ ([t] * 9999) | join }}",
        "{% set t = 'a' * 99999 %}{{ ''.join([t] * 9999) }}",
        "{% set t = 'a' * 99999 %}{{ ([t] * 9999) | tojson | length }}",
    ],
)
def test_an_endless_or_huge_template_is_stopped_soon(source: str) -> None:
    started = time.thread_time()  # of this thread alone, whatever else the machine does
    with pytest.raises(InvalidRequestError, match="the chat template refused"):
        render(source)
    assert time.thread_time() - started < 5.0


def test_a_budget_is_for_one_rendering() -> None:
    template = ChatTemplate("{% for i in range(90000) %}{% endfor %}done", tokens={})
    assert [template.render(BLANK) for _ in range(4)] == ["done"] * 4


@pytest.mark.parametrize("source", ["{% for %}", "{{ x", "{% nonsense %}", "{{ 1 | nosuch }}"])
def test_a_template_that_is_not_jinja_is_refused(source: str) -> None:
    with pytest.raises(InvalidRequestError, match="the chat template"):
        render(source)


def test_a_template_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=f"at most {MAX_TEMPLATE_CHARACTERS}"):
        render("x" * (MAX_TEMPLATE_CHARACTERS + 1))
