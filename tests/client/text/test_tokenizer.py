"""Token ids and text are those of Hugging Face's AutoTokenizer, for each kind of tokenizer."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos.text.chat_options import ChatOptions
from llmasos.text.tokenizer import Tokenizer
from made_tokenizers import KINDS, TEXTS, byte_level, write_tokenizer

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}{{ m.content }}<|im_end|>{% endfor %}"


def reference(directory: Path) -> Any:
    import needs_torch  # noqa: F401
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name: str = request.param
    return write_tokenizer(tmp_path_factory.mktemp(name), KINDS[name]())


def byte_level_directory(tmp_path: Path, **config: Any) -> Path:
    return write_tokenizer(tmp_path / "tokenizer", byte_level(), **config)


@pytest.mark.parity
def test_encoding_equals_hugging_face(kind: Path) -> None:
    ours, theirs = Tokenizer.load(kind), reference(kind)
    for text in TEXTS:
        for special in (True, False):
            expected = theirs.encode(text, add_special_tokens=special)
            assert ours.encode(text, add_special_tokens=special) == expected, text


@pytest.mark.parity
def test_decoding_equals_hugging_face(kind: Path) -> None:
    ours, theirs = Tokenizer.load(kind), reference(kind)
    for text in TEXTS:
        ids = ours.encode(text)
        for skip in (True, False):
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(
                ids, skip_special_tokens=skip
            )


@pytest.mark.parity
def test_decoding_any_ids_equals_hugging_face(kind: Path) -> None:
    ours, theirs = Tokenizer.load(kind), reference(kind)
    draw = random.Random(0)
    for _ in range(200):
        ids = [draw.randrange(ours.vocab_size) for _ in range(draw.randrange(12))]
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


@pytest.mark.parity
@pytest.mark.parametrize(
    "config",
    [
        {"add_bos_token": True},
        {"add_bos_token": True, "add_eos_token": True},
        {"add_bos_token": False},
        {"pad_token": "<pad>"},
        {"pad_token": "a"},
        {"image_token": "<y>"},
        {"bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": True, "special": True}},
        {"additional_special_tokens": ["<x>", "<y>"]},
        {"clean_up_tokenization_spaces": True},
        {"split_special_tokens": True},
        {
            "added_tokens_decoder": {
                "9999": {"content": "<late>", "special": True},
                "9998": {"content": "<mid>", "special": False, "normalized": False},
            }
        },
    ],
    ids=lambda config: next(iter(config)),
)
def test_what_the_config_adds_equals_hugging_face(tmp_path: Path, config: dict[str, Any]) -> None:
    directory = byte_level_directory(tmp_path, **config)
    ours, theirs = Tokenizer.load(directory), reference(directory)
    assert ours.vocab_size == len(theirs)
    for text in (*TEXTS, "a <pad><x> b<y><late> <mid>c a"):
        ids = theirs.encode(text)
        assert ours.encode(text) == ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        assert ours.decode(ids, skip_special_tokens=False) == theirs.decode(ids)


@pytest.mark.parity
def test_spaces_before_punctuation_are_cleaned_up_if_the_config_says_so(tmp_path: Path) -> None:
    directory = write_tokenizer(tmp_path, KINDS["word_piece"](), clean_up_tokenization_spaces=True)
    ours, theirs = Tokenizer.load(directory), reference(directory)
    ids = ours.encode("The fox , isn't it ? No , it wasn't !")
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert "fox," in ours.decode(ids)


def test_truncation_and_padding_in_the_file_are_not_applied(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    ours = Tokenizer.load(write_tokenizer(tmp_path, tokenizer))
    assert ours.encode("x" * 50) == Tokenizer.load(byte_level_directory(tmp_path)).encode("x" * 50)


def test_the_ends_are_those_of_all_config_files_and_of_the_chat(tmp_path: Path) -> None:
    directory = byte_level_directory(
        tmp_path, additional_special_tokens=["<|im_end|>", "<|eot_id|>"], chat_template=CHATML
    )
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    (directory / "config.json").write_text(json.dumps({"eos_token_id": 8, "pad_token_id": 5}))
    ours = Tokenizer.load(directory)
    (im_end,) = ours.encode("<|im_end|>")
    assert ours.eos_token_ids == tuple(sorted({2, 7, 8, 9, im_end}))
    assert ours.bos_token_id == 1
    assert ours.pad_token_id == 5


def test_a_tokenizer_alone_has_no_ends(tmp_path: Path) -> None:
    byte_level().save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path)
    assert ours.eos_token_ids == ()
    assert ours.bos_token_id is None
    assert ours.pad_token_id is None
    assert ours.special_ids == {0, 1, 2}


MESSAGES = [{"role": "user", "content": "x"}]


def named_templates(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "template": name + " {{ messages[0].content }}"} for name in names]


def test_the_template_file_comes_before_the_one_in_the_config(tmp_path: Path) -> None:
    directory = byte_level_directory(tmp_path, chat_template="config {{ messages[0].content }}")
    assert Tokenizer.load(directory).render_chat(MESSAGES) == "config x"
    file = directory / "chat_template.jinja"
    file.write_text("file {{ bos_token }}{{ messages[0].content }}")
    assert Tokenizer.load(directory).render_chat(MESSAGES) == "file <s>x"


def test_the_default_of_several_templates_is_taken(tmp_path: Path) -> None:
    named = named_templates("tool", "default")
    ours = Tokenizer.load(byte_level_directory(tmp_path, chat_template=named))
    assert ours.render_chat(MESSAGES) == "default x"
    assert ours.render_chat(MESSAGES, ChatOptions(chat_template="tool")) == "tool x"
    with pytest.raises(
        InvalidRequestError, match=r"chat_template must name .*, default, tool, got"
    ):
        ours.render_chat(MESSAGES, ChatOptions(chat_template="{{ messages }}"))


@pytest.mark.parity
def test_a_template_for_tools_is_taken_where_there_are_tools(tmp_path: Path) -> None:
    named = named_templates("default", "tool_use")
    named[1]["template"] += "{{ tools }}"
    directory = byte_level_directory(tmp_path, chat_template=named)
    ours, theirs = Tokenizer.load(directory), reference(directory)
    for tools in (None, [], [{"name": "f"}]):
        expected = theirs.apply_chat_template(MESSAGES, tools=tools, tokenize=False)
        assert ours.render_chat(MESSAGES, ChatOptions(tools=tools)) == expected


def test_templates_of_which_none_is_the_default_must_be_named(tmp_path: Path) -> None:
    named = named_templates("a", "b")
    ours = Tokenizer.load(byte_level_directory(tmp_path, chat_template=named))
    with pytest.raises(InvalidRequestError, match=r"no default chat template; name one .*: a, b"):
        ours.render_chat(MESSAGES)


@pytest.mark.parity
def test_templates_in_files_of_their_own_are_named_after_them(tmp_path: Path) -> None:
    directory = byte_level_directory(tmp_path, chat_template="config")
    (directory / "chat_template.jinja").write_text("file {{ messages[0].content }}")
    more = directory / "additional_chat_templates"
    more.mkdir()
    (more / "rag.jinja").write_text("rag {{ messages[0].content }}")
    ours, theirs = Tokenizer.load(directory), reference(directory)
    for name in ("default", "rag"):
        expected = theirs.apply_chat_template(MESSAGES, chat_template=name, tokenize=False)
        assert ours.render_chat(MESSAGES, ChatOptions(chat_template=name)) == expected


@pytest.mark.parity
def test_a_chat_is_encoded_without_further_special_tokens(tmp_path: Path) -> None:
    template = "{{ bos_token }}{{ messages[0].content }}"
    directory = write_tokenizer(tmp_path, KINDS["metaspace"](), chat_template=template)
    ours, theirs = Tokenizer.load(directory), reference(directory)
    messages = [{"role": "user", "content": "The fox"}]
    ids = ours.encode_chat(messages)
    assert ids[0] == 1
    assert ids.count(1) == 1
    assert ids == theirs.apply_chat_template(messages, return_dict=False)


def test_a_chat_without_a_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no chat template"):
        Tokenizer.load(byte_level_directory(tmp_path)).encode_chat(
            [{"role": "user", "content": "x"}]
        )


def test_a_text_with_a_gap_that_codellama_would_fill_is_refused(tmp_path: Path) -> None:
    directory = write_tokenizer(
        tmp_path, KINDS["byte_fallback"](), tokenizer_class="CodeLlamaTokenizer"
    )
    with pytest.raises(InvalidRequestError, match="holds '<FILL_ME>', which asks this model's"):
        Tokenizer.load(directory).encode("the <FILL_ME> fox")


def test_text_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="lone surrogate at character 2"):
        Tokenizer.load(byte_level_directory(tmp_path)).encode("ab\ud800")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", None, "has no tokenizer.json"),
        ("tokenizer.json", b"{", "tokenizer.json is not valid JSON"),
        ("tokenizer.json", b'{"model": {}}', "is not a readable tokenizer"),
        ("tokenizer_config.json", b"{,}", "tokenizer_config.json is not valid JSON"),
        ("tokenizer_config.json", b"[1]", "must hold a JSON object, got list"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": [1]}', "must map ids to tokens"),
        (
            "tokenizer_config.json",
            b'{"added_tokens_decoder": {"7": "x"}}',
            "'x', which is not a token",
        ),
        ("tokenizer_config.json", b'{"extra_special_tokens": "x"}', "must be a list, got 'x'"),
        ("tokenizer_config.json", b'{"extra_special_tokens": [3]}', "has 3, which is not a token"),
        ("config.json", b"\xff", "config.json is not valid JSON"),
        ("chat_template.jinja", b"\xff", "is not UTF-8 text"),
    ],
)
def test_a_damaged_file_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    directory = byte_level_directory(tmp_path)
    if content is None:
        (directory / name).unlink()
    else:
        (directory / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        Tokenizer.load(directory)
    assert "\n" not in str(caught.value)


def test_threads_share_one_tokenizer(tmp_path: Path) -> None:
    ours = Tokenizer.load(byte_level_directory(tmp_path))
    expected = [ours.encode(text) for text in TEXTS]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            assert list(pool.map(ours.encode, TEXTS)) == expected


def test_importing_it_is_light() -> None:
    code = "import sys, llmasos.text.tokenizer; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    loaded = set(result.stdout.split())
    assert not loaded & {"numpy", "torch", "transformers", "huggingface_hub", "openvino"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_gets_the_tokens_of_the_library(kind: str) -> None:
    backend = KINDS[kind]()
    text = "".join(TEXTS) * 10
    assert len(text) > 5000
    for special in (True, False):
        ids = Tokenizer(backend, config={}).encode(text, add_special_tokens=special)
        assert ids == backend.encode(text, add_special_tokens=special).ids


def test_other_threads_run_while_a_long_text_is_encoded() -> None:
    tokenizer = Tokenizer(byte_level(), config={})
    beats: list[float] = []
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(0.001):
            beats.append(time.monotonic())

    thread = threading.Thread(target=beat)
    thread.start()
    began = time.monotonic()
    tokenizer.encode("several words " * 50_000)
    ended = time.monotonic()
    is_over.set()
    thread.join()
    middle = (began + ended) / 2  # in the first and the last moments Python's own code runs
    quarter = (ended - began) / 4
    assert any(abs(beat - middle) < quarter for beat in beats)
