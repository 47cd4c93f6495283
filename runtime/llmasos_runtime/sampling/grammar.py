"""Guided decoding: the tokens that may follow in a language, by llguidance.

llguidance (https://github.com/guidance-ai/llguidance) walks a grammar and the vocabulary together
and returns a bit for each token. Compiling takes about a millisecond, its limits end a schema that
is too large within some tenths of a second, and a mask takes tens of microseconds.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer, StructTag, grammar_from
from llmasos.errors import InvalidRequestError
from llmasos.guide import Guide
from llmasos.text.tokenizer import Tokenizer
from numpy.typing import NDArray

_MAX_KEPT = 64
"""Compiled grammars that an engine keeps."""
_MAX_EBNF = 1 << 16
"""Characters of a grammar, which is converted in Python."""
_WHITE_SPACE = r"[ \n\r\t]{0,32}"
"""Between the parts of JSON: a model could go on with it for ever."""
_SHOWN = 300


class Grammars:
    """Compiles guides for one vocabulary, and keeps those used last. It is thread-safe.

    Compiling happens in the thread that asks, and lets go of Python's lock.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, vocab_size: int, eos_token_ids: tuple[int, ...]
    ) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._eos_token_ids = eos_token_ids
        self._lock = threading.Lock()
        self._vocabulary: LLTokenizer | None = None
        self._kept: OrderedDict[Guide, LLMatcher] = OrderedDict()

    def compiled(self, guide: Guide) -> LLMatcher:
        """Returns a matcher at the beginning of the language; raises InvalidRequestError."""
        with self._lock:
            kept = self._kept.get(guide)
            if kept is not None:
                self._kept.move_to_end(guide)
                return kept.deep_copy()
            vocabulary = self._vocabulary = self._vocabulary or self._read_vocabulary()
        matcher = LLMatcher(vocabulary, _grammar(guide), log_level=0)
        if matcher.is_error():
            raise _refusal(guide, matcher.get_error())
        with self._lock:
            self._kept[guide] = matcher
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return matcher.deep_copy()

    def _read_vocabulary(self) -> LLTokenizer:
        if not self._eos_token_ids:
            raise InvalidRequestError("a guide needs an end token, and this model has none")
        return LLTokenizer(
            self._tokenizer.to_json(),
            n_vocab=self._vocab_size,
            eos_token=list(self._eos_token_ids),
        )


class GrammarState:
    """Follows the output of one sequence, a list of token ids that grows at its end.

    matcher: at the beginning of the language. token_ids: the sequence's own list.
    """

    def __init__(
        self, matcher: LLMatcher, token_ids: list[int], *, num_prompt_tokens: int, vocab_size: int
    ) -> None:
        self._matcher = matcher
        self._token_ids = token_ids
        self._num_followed = num_prompt_tokens
        self._mask = np.zeros(-(-vocab_size // 32), np.int32)
        self._vocab_size = vocab_size

    @classmethod
    def of(
        cls, matcher: LLMatcher | None, prompt: list[int], *, vocab_size: int
    ) -> GrammarState | None:
        """Returns the state of a sequence that begins with a prompt, or None without a matcher.

        The matcher is copied. prompt: the sequence's own list.
        """
        if matcher is None:
            return None
        copy = matcher.deep_copy()
        return cls(copy, prompt, num_prompt_tokens=len(prompt), vocab_size=vocab_size)

    def allowed(self, drafts: tuple[int, ...] = ()) -> NDArray[np.bool_] | None:
        """Whether each token [vocab_size] may follow; None if the drafts lead out of the language.

        What follows such drafts is dropped, whatever it is.
        """
        self._matcher.consume_tokens(self._token_ids[self._num_followed :])
        self._num_followed = len(self._token_ids)
        pending = list(drafts)
        if pending and self._matcher.validate_tokens(pending) < len(pending):
            return None
        if pending:
            self._matcher.consume_tokens(pending)
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        if pending:
            self._matcher.rollback(len(pending))
        bits = np.unpackbits(self._mask.view(np.uint8), bitorder="little")
        allowed: NDArray[np.bool_] = bits[: self._vocab_size].view(np.bool_)
        return allowed


def _grammar(guide: Guide) -> str:
    """In llguidance's own form; raises InvalidRequestError."""
    options: Any = {"whitespace_pattern": _WHITE_SPACE}
    try:
        if guide.kind == "json":
            return LLMatcher.grammar_from_json_schema('{"type": "object"}', options)
        if guide.kind == "json_schema":
            return LLMatcher.grammar_from_json_schema(guide.text, options)
        if guide.kind == "regex":
            return LLMatcher.grammar_from_regex(guide.text)
        if guide.kind == "structural_tag":
            return _structural_tag(guide.text)
        if len(guide.text) > _MAX_EBNF:
            raise ValueError(f"it has {len(guide.text)} characters, at most {_MAX_EBNF} are read")
        return grammar_from("ebnf", guide.text)
    except (ValueError, RecursionError) as error:
        raise _refusal(guide, str(error)) from error


def _structural_tag(text: str) -> str:
    """{"structures": [{begin, schema, end}], "triggers": [...]}, as xgrammar and vLLM have it.

    Text is free up to a trigger, which begins one of the structures.
    """
    said = json.loads(text)
    if not isinstance(said, dict) or not {"structures", "triggers"} <= said.keys():
        raise ValueError("it must be an object with structures and triggers")
    tags: list[StructTag] = []
    for structure in said["structures"]:
        begin = structure.get("begin", "") if isinstance(structure, dict) else ""
        trigger = next((one for one in said["triggers"] if one and begin.startswith(one)), None)
        if trigger is None or not isinstance(structure.get("schema"), dict):
            raise ValueError(
                "each structure needs a begin that one of the triggers begins, and a schema"
            )
        end = str(structure.get("end", ""))
        tags.append(StructTag(trigger=trigger, begin=begin, grammar=structure["schema"], end=end))
    if not tags:
        raise ValueError("it has no structures")
    return StructTag.to_grammar(tags, assume_special=False)


def _refusal(guide: Guide, reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"the guide of kind {guide.kind} cannot be used: {reason.strip():.{_SHOWN}}"
    )
