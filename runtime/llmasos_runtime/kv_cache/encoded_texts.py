"""Texts whose keys and values, computed by an encoder, lie in blocks of the KV cache."""

from __future__ import annotations

from llmasos_runtime.sequences.encoded_text import EncodedText


class EncodedTexts:
    """Finds a text that was encoded before. It neither owns nor counts blocks.

    The blocks of a text are used together, so they are free together; the first that gets another
    content takes the text with it.
    """

    def __init__(self) -> None:
        self._by_tokens: dict[tuple[int, ...], EncodedText] = {}
        self._by_block: dict[int, EncodedText] = {}

    def __contains__(self, block: int) -> bool:
        return block in self._by_block

    def find(self, token_ids: tuple[int, ...]) -> EncodedText | None:
        """The text of these tokens; None if it is not known (any more)."""
        return self._by_tokens.get(token_ids)

    def add(self, text: EncodedText) -> None:
        """Remembers a text that the next step encodes."""
        self._by_tokens[text.token_ids] = text
        self._by_block.update(dict.fromkeys(text.blocks, text))

    def forget(self, block: int) -> bool:
        """Forgets a text whose block will hold something else; False if it was no text's."""
        text = self._by_block.pop(block, None)
        if text is not None and self._by_tokens.get(text.token_ids) is text:
            del self._by_tokens[text.token_ids]
        return text is not None
