"""Resolves the tokenizer files of a checkpoint to one tokenizer, as transformers 5 loads it.

A checkpoint describes its tokenizer in up to nine files that overlap and may disagree. `resolve`
reads them once, at build. The plan stores the one description that is left: a complete
tokenizer.json, and a tokenizer_config.json with only what tokenizer.json cannot say.
"""

from __future__ import annotations

from llmasos.text.tokenizer_files.resolve import FILLS_AT as FILLS_AT
from llmasos.text.tokenizer_files.resolve import RESOLVED as RESOLVED
from llmasos.text.tokenizer_files.resolve import WRITTEN_BY as WRITTEN_BY
from llmasos.text.tokenizer_files.resolve import ResolvedTokenizer as ResolvedTokenizer
from llmasos.text.tokenizer_files.resolve import resolve as resolve
from llmasos.text.tokenizer_files.sources import CONFIG_FILE as CONFIG_FILE
from llmasos.text.tokenizer_files.sources import TokenizerSources as TokenizerSources
from llmasos.text.tokenizer_files.unnumbered import Numbers as Numbers
from llmasos.text.tokenizer_files.vocabulary import read_backend as read_backend

__all__ = [
    "CONFIG_FILE",
    "FILLS_AT",
    "RESOLVED",
    "WRITTEN_BY",
    "Numbers",
    "ResolvedTokenizer",
    "TokenizerSources",
    "read_backend",
    "resolve",
]
