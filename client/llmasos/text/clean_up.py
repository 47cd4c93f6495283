"""What Hugging Face calls cleaning up: it drops WordPiece's spaces before punctuation."""

from __future__ import annotations

_CLEAN_UPS = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def cleaned_up(text: str) -> str:
    """Returns a decoded text without those spaces."""
    for found, replacement in _CLEAN_UPS:
        text = text.replace(found, replacement)
    return text
