"""Whatever the tokenizer files say, ids and text are those of transformers, or it is refused.

Each row of `tokenizer_fields` is tried with each row of `tokenizer_bases`: the tokenizer that a
plan would store is compared with `AutoTokenizer` of the same directory. What is refused must be
in the table of refusals here, so that a refusal too many fails as well.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import needs_torch  # noqa: F401
import pytest
from llmasos.errors import CheckpointError, InvalidRequestError
from llmasos.text.chat_options import ChatOptions
from llmasos.text.tokenizer import Tokenizer
from llmasos.text.tokenizer_files.tokenizer_class import (
    BY_MODEL_TYPE,
    DISTRUSTED,
    GENERIC,
    RECIPES,
    UNSUPPORTED,
)
from llmasos_builder.architectures.supported import SUPPORTED
from llmasos_builder.checkpoint.huggingface.tokenizer_directory import read_tokenizer_files
from tokenizer_bases import BASES
from tokenizer_fields import VARIATIONS, Variation

TEXTS = (
    "",
    " ",
    "The quick brown fox",
    "  two spaces,\n\n\tnewlines and a trailing space ",
    "It's 12345 o'clock , isn't it ? x = 2024\r\n",
    "naïve cafe\u0301 ½ ﬁ 今日は 😀👨‍👩‍👧",
    "<s>in <e> between<s> <e>  <unk>",
    "a <x> b<y><late> <mid>c <new> fox<|im_start|>user\n<|im_end|>\n<pad><image> capital",
)
NUM_BASES = 3  # of each variation in the quick run
MESSAGES = [{"role": "user", "content": "Hello <s>,  fox 12"}, {"role": "user", "content": "?"}]


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    import transformers

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    transformers.logging.set_verbosity(before)


def theirs_of(directory: Path) -> Any:
    """transformers' tokenizer, or None where it refuses, in whatever way."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory)
    except Exception:  # noqa: BLE001 - of every kind
        return None


def ours_of(directory: Path, plan: Path) -> Tokenizer:
    """Of the files that a plan has, with the config.json that is in every plan."""
    files = read_tokenizer_files(directory)
    plan.mkdir()
    for name, content in files.made.items():
        (plan / name).write_bytes(content)
    if (directory / "config.json").exists():
        (plan / "config.json").write_bytes((directory / "config.json").read_bytes())
    return Tokenizer.load(plan)


def assert_equal(ours: Tokenizer, theirs: Any) -> None:
    assert ours.vocab_size == len(theirs)
    draw = random.Random(0)
    some = [[draw.randrange(len(theirs)) for _ in range(9)] for _ in range(4)]
    for text in TEXTS:
        for special in (True, False):
            expected = theirs(text, add_special_tokens=special)["input_ids"]
            assert ours.encode(text, add_special_tokens=special) == expected, text
            some.append(expected)
    for ids in some:
        for skip in (True, False):
            expected_text = theirs.decode(ids, skip_special_tokens=skip)
            assert ours.decode(ids, skip_special_tokens=skip) == expected_text, ids
    for index in theirs.added_tokens_decoder:
        is_left_out = theirs.decode([index]) != theirs.decode([index], skip_special_tokens=True)
        assert (index in ours.special_ids) == is_left_out, index
    assert_named_tokens_are_equal(ours, theirs)
    assert_chats_are_equal(ours, theirs)


def assert_named_tokens_are_equal(ours: Tokenizer, theirs: Any) -> None:
    ends = (
        set()
        if theirs.eos_token is None
        else {theirs.backend_tokenizer.token_to_id(theirs.eos_token)}
    )
    assert set(ours.eos_token_ids) >= ends - {None}
    for name in ("bos", "pad"):
        token = getattr(theirs, f"{name}_token")
        if token:
            assert getattr(ours, f"{name}_token_id") == theirs.backend_tokenizer.token_to_id(token)


def assert_chats_are_equal(ours: Tokenizer, theirs: Any) -> None:
    for opens in (True, False):
        try:
            expected = theirs.apply_chat_template(
                MESSAGES, tokenize=False, add_generation_prompt=opens
            )
        except Exception:  # noqa: BLE001 - of every kind
            with pytest.raises(InvalidRequestError):
                ours.render_chat(MESSAGES, ChatOptions(add_generation_prompt=opens))
            continue
        assert ours.render_chat(MESSAGES, ChatOptions(add_generation_prompt=opens)) == expected
    if isinstance(theirs.chat_template, str):
        ids = theirs.apply_chat_template(MESSAGES, return_dict=False, add_generation_prompt=True)
        assert ours.encode_chat(MESSAGES) == ids


def check(directory: Path, plan: Path) -> None:
    try:
        ours = ours_of(directory, plan)
    except CheckpointError as error:
        assert "\n" not in str(error)
        # Only where it must be: some of transformers' classes end the process with such a file.
        is_known = any(words in str(error) for words in REFUSED)
        assert is_known or theirs_of(directory) is None, error
        return
    theirs = theirs_of(directory)
    if theirs is not None:
        assert_equal(ours, theirs)


REFUSED = (
    "tokenizer_class '",  # a class that cuts text in a way of its own
    "auto_map names a tokenizer",
    "fast_tokenizer_files is not supported",
    "has a model of the type",
    "has no tokenizer.json, and no ",
    "is not a special token, and is not supported",
    "add_prefix_space must be true or false",
    "must be a list",
    "is no token",
    "is not a token",
    "tokenizer_class must be",
    "chat_template must be",
    "must map",
    "is not valid JSON",
    "must hold a JSON object",
    "is not in the vocabulary",
    "_token is empty",
)
"""Words of the refusals of what transformers loads."""


@pytest.mark.parametrize("base", BASES)
def test_an_unchanged_checkpoint_is_read_as_transformers_reads_it(
    tmp_path: Path, base: str
) -> None:
    directory = BASES[base].write(tmp_path / "checkpoint")
    assert_equal(ours_of(directory, tmp_path / "plan"), theirs_of(directory))


def test_a_class_of_transformers_is_generic_supported_or_refused() -> None:
    """A class that is added there, with a cut of its own, must not be taken for a generic one."""
    import transformers

    for name in dir(transformers):
        if not name.endswith(("Tokenizer", "TokenizerFast")):
            continue
        fields = vars(getattr(transformers, name))
        needs_more = "_backends" in fields  # stands in for a class that cannot be imported here
        cuts = needs_more or ("vocab_files_names" in fields and "__init__" in fields)
        if cuts and name not in ("PreTrainedTokenizer", "PreTrainedTokenizerFast"):
            known = name.removesuffix("Fast")
            assert known in RECIPES or known.removesuffix("Tokenizer") in UNSUPPORTED, name


@pytest.mark.parametrize("model_type", sorted({row.model_type for row in SUPPORTED.values()}))
def test_a_model_type_has_the_class_of_transformers(model_type: str) -> None:
    from transformers.models.auto import tokenization_auto as theirs

    named = theirs.TOKENIZER_MAPPING_NAMES.get(model_type)
    named = GENERIC if named == "MistralCommonBackend" else named
    assert BY_MODEL_TYPE.get(model_type) == named
    is_distrusted = model_type in theirs.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
    assert (model_type in DISTRUSTED) == is_distrusted


@pytest.mark.parametrize("index", range(len(VARIATIONS)), ids=lambda i: VARIATIONS[i].name)
def test_one_field_gives_the_ids_of_transformers_or_is_refused(tmp_path: Path, index: int) -> None:
    """With some of the bases, in turn; the slow sweep has all."""
    names = list(BASES)
    some = [names[(index * NUM_BASES + i * 7) % len(names)] for i in range(NUM_BASES)]
    try_each(tmp_path, (VARIATIONS[index],), some)


@pytest.mark.slow
@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda variation: variation.name)
def test_one_field_with_every_class(tmp_path: Path, variation: Variation) -> None:
    try_each(tmp_path, (variation,), BASES)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_files_that_disagree_give_the_ids_of_transformers_or_are_refused(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    for index in range(20):
        variations = draw.sample(VARIATIONS, draw.choice((2, 2, 3)))
        names = draw.sample(list(BASES), 2)
        try_each(tmp_path / str(index), variations, names)


def try_each(tmp_path: Path, variations: Sequence[Variation], names: Iterable[str]) -> None:
    for name in names:
        if BASES[name].two_files and any(v.file == "tokenizer.json" for v in variations):
            continue
        directory = BASES[name].write(tmp_path / name.replace(" ", "-"))
        try:
            for variation in variations:
                variation.apply(directory)
        except (TypeError, ValueError):  # a file that an earlier variation damaged
            continue
        try:
            check(directory, Path(f"{directory}-plan"))
        except AssertionError as error:
            tried = [variation.name for variation in variations]
            raise AssertionError(f"{name}, {tried}: {error}") from error
