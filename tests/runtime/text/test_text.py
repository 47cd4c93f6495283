"""Text comes out whole, early and exactly as decoding all tokens makes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from llmasos.text.tokenizer import Tokenizer
from llmasos_runtime.sequences.request import Update
from llmasos_runtime.text.detokenizer import MAX_RUN, MAX_WINDOW, Detokenizer
from llmasos_runtime.text.text import Piece, TextStream
from llmasos_runtime.triton.reply import Gathered
from made_tokenizers import BASE_CONFIG, CORPUS, KINDS, SPECIAL, TEXTS
from tokenizers import decoders, models, pre_tokenizers, trainers

FIRST_BYTE = len(SPECIAL)  # of the tokenizer with byte fallback


def with_decoder(kind: str, decoder: Any) -> tokenizers.Tokenizer:
    tokenizer = KINDS[kind]()
    tokenizer.decoder = decoder
    return tokenizer


def unigram_bytes() -> tokenizers.Tokenizer:
    """Unigram with byte fallback; it can be cleaned up, and BPE cannot."""
    tokenizer = with_decoder("metaspace", None)
    state = json.loads(tokenizer.to_str())
    state["model"]["byte_fallback"] = True
    state["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return tokenizer


def word_ends() -> tokenizers.Tokenizer:
    """As GPT-1 has it: a space follows the end of a word, if anything does."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(SPECIAL),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


CLEANED_UP: Mapping[str, Any] = {"clean_up_tokenization_spaces": True}
CONFIGS: Mapping[str, tuple[Callable[[], tokenizers.Tokenizer], Mapping[str, Any]]] = {
    **{kind: (make, {}) for kind, make in KINDS.items()},
    "word_piece_cleaned_up": (KINDS["word_piece"], CLEANED_UP),
    "word_piece_cleaning": (
        lambda: with_decoder("word_piece", decoders.WordPiece(cleanup=True)),
        {},
    ),
    "metaspace_cleaned_up": (KINDS["metaspace"], CLEANED_UP),
    "unigram_bytes": (unigram_bytes, {}),
    "unigram_bytes_cleaned_up": (unigram_bytes, CLEANED_UP),
    "bytes_without_strip": (  # as Gemma has it
        lambda: with_decoder(
            "byte_fallback",
            decoders.Sequence(
                [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
            ),
        ),
        {},
    ),
    "word_ends": (word_ends, {}),
    "undecoded": (lambda: with_decoder("word_piece", None), {}),
}


@dataclass(frozen=True)
class Kind:
    tokenizer: Tokenizer
    detokenizer: Detokenizer

    def stream(self, **options: Any) -> TextStream:
        return TextStream(self.detokenizer, **options)

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)


def made(name: str) -> Kind:
    make, config = CONFIGS[name]
    tokenizer = Tokenizer(make(), config={**BASE_CONFIG, **config})
    return Kind(tokenizer, Detokenizer(tokenizer))


ALL_KINDS = {name: made(name) for name in CONFIGS}
kinds = st.sampled_from(sorted(CONFIGS)).map(ALL_KINDS.__getitem__)
texts = st.one_of(
    st.sampled_from(TEXTS),
    st.lists(st.sampled_from(TEXTS), max_size=3).map("".join),
    st.text(st.sampled_from("ab .,!?'nt ms\n▁é世😀\u200d👧\ufffd<>"), max_size=30),
)
# Unknown ids too: a network's vocabulary may be larger than its tokenizer's.
random_ids = st.lists(st.integers(0, 420), max_size=40)
stop_strings = st.lists(
    st.text(st.sampled_from("abcdefox t.,\n'世😀"), min_size=1, max_size=5), max_size=4
)


@st.composite
def sequences(draw: st.DrawFn) -> tuple[Kind, list[int]]:
    """A tokenizer and tokens: of a text, random, or both mixed."""
    kind = draw(kinds)
    size = kind.tokenizer.vocab_size + 3
    made_ids = [i % size for i in draw(random_ids)]
    text_ids = kind.ids(draw(texts))
    place = draw(st.integers(0, len(text_ids)))
    return kind, draw(
        st.sampled_from([made_ids, text_ids, text_ids[:place] + made_ids + text_ids[place:]])
    )


def cut(ids: Sequence[int], places: Sequence[int]) -> list[list[int]]:
    borders = [0, *sorted(p % (len(ids) + 1) for p in places), len(ids)]
    return [list(ids[a:b]) for a, b in pairwise(borders)]


def run(stream: TextStream, chunks: Sequence[Sequence[int]]) -> list[Piece]:
    """Push all; stop at a stop string, or finish."""
    pieces: list[Piece] = []
    for chunk in chunks:
        pieces.append(stream.push(chunk))
        if pieces[-1].stop_string is not None:
            return pieces
    return [*pieces, stream.finish()]


def joined(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def check_contract(kind: Kind, pieces: Sequence[Piece]) -> None:
    """Each piece's text can be made of its ids, and that of neighbours of theirs."""
    for piece in pieces:
        begin, end = piece.text_span
        decoded = kind.tokenizer.decode([*piece.context_ids, *piece.token_ids])
        assert decoded[begin:end] == piece.text
    for first, size in ((0, len(pieces)), (0, 2), (1, 2), (1, 3), (2, 3)):
        for at in range(first, len(pieces), size):
            check_gathered(kind, pieces[at : at + size])


def check_gathered(kind: Kind, pieces: Sequence[Piece]) -> None:
    gathered = Gathered()
    for piece in pieces:
        gathered.add(
            Update(
                request_id="",
                token_ids=piece.token_ids,
                text=piece.text,
                context_ids=piece.context_ids,
                text_span=piece.text_span,
            )
        )
    whole = gathered.take(Update(request_id=""))
    begin, end = whole.text_span
    decoded = kind.tokenizer.decode([*whole.context_ids, *whole.token_ids])
    assert decoded[begin:end] == joined(pieces)


@settings(max_examples=600, deadline=None)
@given(sequence=sequences(), places=st.lists(st.integers(0, 1000), max_size=5))
def test_joined_pieces_are_the_text_of_all_tokens(
    sequence: tuple[Kind, list[int]], places: list[int]
) -> None:
    kind, ids = sequence
    for chunks in ([[i] for i in ids], cut(ids, places)):
        pieces = run(kind.stream(), chunks)
        assert joined(pieces) == kind.tokenizer.decode(ids)
        assert [i for piece in pieces for i in piece.token_ids] == ids
        check_contract(kind, pieces)


@settings(max_examples=300, deadline=None)
@given(sequence=sequences())
def test_nothing_waits_that_no_token_can_change(sequence: tuple[Kind, list[int]]) -> None:
    kind, ids = sequence
    if kind.detokenizer.cleans_up:
        return
    stream, text = kind.stream(), ""
    for n, token_id in enumerate(ids, 1):
        text += stream.push([token_id]).text
        whole = kind.tokenizer.decode(ids[:n])
        if not kind.detokenizer.has_runs:
            assert text == whole[: len(whole) - whole.endswith("\ufffd")]
        elif not kind.detokenizer.num_in_run(ids[:n]):
            assert text == whole


WINDOW = 32
awkward_texts = ("\U00013000", " ", "'", ".", "n't ' '", "?!", "\ufffd", "世", "a")


@settings(max_examples=250, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    places=st.lists(st.integers(0, 100), min_size=1, max_size=3),
    data=st.data(),
)
def test_long_without_an_anchor_it_is_still_exact(
    name: str, places: list[int], data: st.DataObject
) -> None:
    kind = ALL_KINDS[name]
    awkward = sorted({i for text in awkward_texts for i in kind.ids(text)})
    ids = data.draw(
        st.lists(
            st.sampled_from([awkward[p % len(awkward)] for p in places]),
            min_size=WINDOW,
            max_size=4 * WINDOW,
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmasos_runtime.text.detokenizer.MAX_WINDOW", WINDOW)
        patch.setattr("llmasos_runtime.text.detokenizer.MAX_RUN", 5)
        pieces = run(kind.stream(stop=("never",)), [[i] for i in ids])
    assert joined(pieces) == kind.tokenizer.decode(ids)
    check_contract(kind, pieces)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("text", [text for text in TEXTS if len(text) < 100])
def test_a_text_may_be_cut_anywhere(name: str, text: str) -> None:
    kind = ALL_KINDS[name]
    ids = kind.ids(text)
    for place in range(len(ids) + 1):
        pieces = run(kind.stream(), [ids[:place], ids[place:]])
        assert joined(pieces) == kind.tokenizer.decode(ids)
        check_contract(kind, pieces)


@pytest.mark.parametrize("name", CONFIGS)
def test_tokens_leave_in_the_step_that_made_them(name: str) -> None:
    kind = ALL_KINDS[name]
    stream = kind.stream(stop=("never",))
    for token_id in kind.ids("".join(TEXTS)):
        assert stream.push([token_id]).token_ids == (token_id,)


def test_a_character_comes_whole() -> None:
    kind = ALL_KINDS["byte_level"]
    (*first, last) = kind.ids("\U00013000")
    assert len(first) == 3
    stream = kind.stream()
    assert [stream.push([i]).text for i in (*first, last)] == ["", "", "", "\U00013000"]


def test_a_character_that_never_ends_comes_at_the_end() -> None:
    kind = ALL_KINDS["byte_level"]
    stream = kind.stream()
    assert stream.push(kind.ids("\U00013000")[:3]).text == ""
    assert stream.finish().text == "\ufffd"


def test_bytes_wait_for_what_could_spoil_them() -> None:
    kind = ALL_KINDS["byte_fallback"]
    newline, wrong = FIRST_BYTE + 0x0A, FIRST_BYTE + 0xFF
    assert kind.tokenizer.decode([newline]) == "\n"
    (fox,) = kind.ids("fox")[-1:]
    stream = kind.stream()
    assert [stream.push([i]).text for i in (fox, newline, fox)] == ["fox", "", "\n fox"]
    stream = kind.stream()
    assert [stream.push([i]).text for i in (fox, newline, wrong, fox)] == [
        "fox",
        "",
        "",
        "\ufffd\ufffd fox",
    ]


def test_a_stop_string_is_found_in_bytes_that_wait() -> None:
    kind = ALL_KINDS["byte_fallback"]
    stream = kind.stream(stop=("\n",))
    ids = kind.ids("fox\n")
    assert stream.push(ids[:-1]).text == "fox"
    piece = stream.push(ids[-1:])
    assert (piece.token_ids, piece.text, piece.stop_string) == ((ids[-1],), "", "\n")


def expected_stop(
    kind: Kind, ids: Sequence[int], stop: Sequence[str], min_tokens: int
) -> tuple[str, str | None]:
    """The text and the stop string, from the text after each token."""
    not_before = 0
    for n in range(1, len(ids) + 1):
        text = kind.tokenizer.decode(ids[:n])
        matches = [
            (begin, begin + len(s), s)
            for s in stop
            for begin in range(len(text))
            if text.startswith(s, begin) and begin + len(s) > not_before
        ]
        if n <= min_tokens:
            not_before = max(not_before, len(text.rstrip("\ufffd")))
        elif matches:
            begin, _, found = min(matches)
            return text[:begin], found
    return kind.tokenizer.decode(ids), None


@settings(max_examples=500, deadline=None)
@given(
    sequence=sequences(),
    stop=stop_strings,
    min_tokens=st.integers(0, 6),
    places=st.lists(st.integers(0, 1000), max_size=5),
)
def test_text_ends_before_the_first_stop_string_or_behind_it(
    sequence: tuple[Kind, list[int]], stop: list[str], min_tokens: int, places: list[int]
) -> None:
    kind, ids = sequence
    expected, found = expected_stop(kind, ids, stop, min_tokens)
    for chunks in ([[i] for i in ids], cut(ids, places)):
        pieces = run(kind.stream(stop=stop, min_tokens=min_tokens), chunks)
        assert (joined(pieces), pieces[-1].stop_string) == (expected, found)
        check_contract(kind, pieces)
        stream = kind.stream(stop=stop, min_tokens=min_tokens, includes_stop=True)
        pieces = run(stream, chunks)
        assert joined(pieces) == expected + (found or "")
        check_contract(kind, pieces)


@settings(max_examples=300, deadline=None)
@given(prompt=sequences(), output=random_ids, stop=stop_strings)
def test_an_echoed_prompt_leads_and_is_not_searched(
    prompt: tuple[Kind, list[int]], output: list[int], stop: list[str]
) -> None:
    kind, prompt_ids = prompt
    output = [i % kind.tokenizer.vocab_size for i in output]
    pieces = run(kind.stream(prompt=prompt_ids), [[i] for i in output])
    assert joined(pieces) == kind.tokenizer.decode(prompt_ids + output)
    assert [i for piece in pieces for i in piece.token_ids] == prompt_ids + output
    check_contract(kind, pieces)
    check_contract(kind, run(kind.stream(prompt=prompt_ids, stop=stop), [[i] for i in output]))


@settings(max_examples=250, deadline=None)
@given(sequence=sequences(), end=st.integers(0, 420), stop=stop_strings)
def test_an_end_token_is_counted_and_not_shown(
    sequence: tuple[Kind, list[int]], end: int, stop: list[str]
) -> None:
    kind, ids = sequence
    stream = kind.stream(stop=stop)
    pieces: list[Piece] = []
    for token_id in ids:
        pieces.append(stream.push([token_id]))
        if pieces[-1].stop_string is not None:
            return
    pieces.append(stream.finish(end_token_ids=[end]))
    assert pieces[-1].token_ids == (end,)
    check_contract(kind, pieces)
    text = kind.tokenizer.decode(ids)
    assert text.startswith(joined(pieces))
    if kind.tokenizer.decode([*ids, end]).startswith(text) and pieces[-1].stop_string is None:
        assert joined(pieces) == text


def test_a_stop_token_with_text_is_not_shown() -> None:
    kind = ALL_KINDS["byte_level"]
    stream = kind.stream(stop=("oxen",))
    (dot,) = kind.ids(".")
    pieces = [stream.push(kind.ids("the fo")), stream.push(kind.ids("x"))]
    assert joined(pieces) == "the f"
    pieces.append(stream.finish(end_token_ids=[dot]))
    assert joined(pieces) == "the fox"
    check_contract(kind, pieces)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_stop_string_may_begin_in_one_piece_and_end_in_another(name: str) -> None:
    kind = ALL_KINDS[name]
    stream = kind.stream(stop=("fox jumps", "nothing"))
    pieces: list[Piece] = []
    for token_id in kind.ids("The quick brown fox jumps over the lazy dog."):
        pieces.append(stream.push([token_id]))
        if pieces[-1].stop_string:
            break
    assert pieces[-1].stop_string == "fox jumps"
    text = kind.tokenizer.decode([i for p in pieces for i in p.token_ids])
    assert joined(pieces) == text[: text.index("fox jumps")]


def test_tokens_after_a_stop_string_are_not_taken() -> None:
    kind = ALL_KINDS["byte_level"]
    ids = kind.ids("a fox and an ox")
    piece = kind.stream(stop=("fox",)).push(ids)
    assert piece.stop_string == "fox"
    assert kind.tokenizer.decode(piece.token_ids) == "a fox"


def test_a_stop_string_is_not_looked_for_before_min_tokens() -> None:
    kind = ALL_KINDS["byte_level"]
    letters = [i for letter in "abcabc" for i in kind.ids(letter)]
    pieces = run(kind.stream(stop=("bc",), min_tokens=3), [[i] for i in letters])
    assert (joined(pieces), pieces[-1].stop_string) == ("abca", "bc")
    pieces = run(kind.stream(stop=("bc", "cab"), min_tokens=3), [[i] for i in letters])
    assert (joined(pieces), pieces[-1].stop_string) == ("ab", "cab")


def counted_decodes(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each decoding from now on is given."""
    sizes: list[int] = []
    decode = kind.detokenizer.decode

    def counted(token_ids: Sequence[int]) -> str:
        sizes.append(len(token_ids))
        return decode(token_ids)

    monkeypatch.setattr(kind.detokenizer, "decode", counted)
    return sizes


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("what", ["special", "first", "bytes", "run", "space", "text", "unknown"])
def test_no_more_than_a_window_is_decoded_again(
    name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = ALL_KINDS[name]
    (wide,) = kind.ids("fox")[-1:]
    ids = {
        "special": [2],
        "first": kind.ids("\U00013000")[:1] or [wide],
        "bytes": kind.ids("\U00013000") or [wide],
        "run": kind.ids("\U00013000")[-4:] or [wide],
        "space": kind.ids(" ") or [wide],
        "text": kind.ids("the fox, isn't 😀 it?"),
        "unknown": [kind.tokenizer.vocab_size + 5],
    }[what]
    ids = ids * (1000 // len(ids))
    sizes = counted_decodes(kind, monkeypatch)
    pieces = run(kind.stream(stop=("~never~",)), [[i] for i in ids])
    assert joined(pieces) == kind.tokenizer.decode(ids)
    assert sum(sizes) <= len(ids) * 2 * (MAX_WINDOW + MAX_RUN)


def test_a_long_prompt_is_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = ALL_KINDS["byte_fallback"]
    prompt = kind.ids("The fox\n" * 500)
    run(kind.stream(prompt=prompt), [prompt])  # now each token alone is known
    sizes = counted_decodes(kind, monkeypatch)
    piece = kind.stream(prompt=prompt, stop=("x",)).push(kind.ids("f"))
    assert piece.text == kind.tokenizer.decode(prompt) + " f"
    assert len(sizes) < 10


def test_what_a_tokenizer_does_is_found_by_trying_it() -> None:
    for name, kind in ALL_KINDS.items():
        assert kind.detokenizer.has_runs == ("bytes" in name or "fallback" in name), name
        assert kind.detokenizer.cleans_up == ("clean" in name), name
