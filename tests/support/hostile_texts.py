"""Parts of texts that tokenizers trip over."""

from __future__ import annotations

from made_tokenizers import CORPUS

HOSTILE = (
    *("▁", " ", "  ", "\t", "\n", "\r\n", "\xa0", "\u2003", "\u200b", "\ufeff", "\x00", "\x7f"),
    *("<s>", "</s>", "<unk>", "<pad>", "<mask>", "[CLS]", "[MASK]", "<extra_id_0>", "<x>", "<new>"),
    *("fox", "▁12", "The quick", "n't", "##ox", "12345", "½", "ﬁ", "ﷺ", "e\u0301", "İ", "ß", "ς"),
    *dict.fromkeys(CORPUS),
    *("今日は", "世界", "Привет", "😀", "👨‍👩‍👧", "🇩🇪", "<0x41>", "a" * 120, "Ǆ", "\U000e0041"),
)
"""Marks of spaces, special tokens in a text, odd spaces, composition."""
