"""Distinct prompts of one exact length, the same as text and as token ids for every peer.

Peers take token ids, a Triton server takes text: so the text of a prompt must give its
ids back. Prompts are cut from plain sentences, and each begins with its own topic, so
that no two share a prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Protocol

from benchmarks.peers.peer import Prompt

TOPICS = (
    *("Gravity", "Photosynthesis", "Volcanoes", "Bicycles", "Bread", "Tides", "Vaccines", "Chess"),
    *("Jazz", "Sunlight", "Rain", "Stars", "Honey", "Coffee", "Printing", "Earthquakes"),
    *("Glaciers", "Inflation", "Democracy", "Hearts", "Penguins", "Bridges", "Telescopes", "Rice"),
    *("Whales", "Compilers", "Poetry", "Batteries", "Maps", "Clocks", "Paper", "Ships"),
)
SENTENCES = (
    "is a subject that a curious reader can come to know in one afternoon.",
    "Write a short article about it, and begin with what people saw long before they knew why.",
    "Give two examples from daily life, and say what would happen if one of them were missing.",
    "Name one common mistake, who made it first, and how careful work showed that it was wrong.",
    "Keep the sentences short, leave out long words, and do not use any lists in the answer.",
    "Then describe one experiment that can be done at home with water, a spoon and a lamp.",
    "Finish with a question which nobody has answered yet, and say who is working on it now.",
)


class TextCodec(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


def make_prompts(codec: TextCodec, *, count: int, num_tokens: int) -> list[Prompt]:
    """`count` prompts of exactly `num_tokens` tokens with distinct first words.

    Raises ValueError when a prompt cannot be cut so that its text gives its ids back.
    """
    return [_prompt(codec, index, num_tokens=num_tokens) for index in range(count)]


def _prompt(codec: TextCodec, index: int, *, num_tokens: int) -> Prompt:
    for text in _growing_texts(index):
        ids = codec.encode(text)[:num_tokens]
        if len(ids) < num_tokens:
            continue
        cut = codec.decode(ids)
        if codec.encode(cut) == ids:
            return Prompt(text=cut, token_ids=tuple(ids))
        if len(text) > 100 * num_tokens:
            break
    raise ValueError(
        f"prompt {index} cannot be cut to {num_tokens} tokens that its text gives back"
    )


def _growing_texts(index: int) -> Iterator[str]:
    """Longer and longer texts that begin with the topic of this index."""
    text = TOPICS[index % len(TOPICS)]
    if index >= len(TOPICS):
        text += f" {index}"
    for step in count():
        text += " " + SENTENCES[0 if step == 0 else (index + step) % len(SENTENCES)]
        yield text
