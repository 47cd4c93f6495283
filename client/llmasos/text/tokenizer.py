"""Text to token ids and back, exactly as Hugging Face's AutoTokenizer does it.

The `tokenizers` library does the work from ``tokenizer.json``. `tokenizer_files` resolves what
the files beside it change: at build for a plan, at loading for a checkpoint. End tokens are also
read from ``generation_config.json`` and ``config.json``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models

from llmasos.errors import InvalidRequestError
from llmasos.files.json_file import read_json_object
from llmasos.text.chat_options import ChatOptions
from llmasos.text.chat_templates import ChatTemplates, templates_of_config
from llmasos.text.clean_up import cleaned_up
from llmasos.text.rust_panics import panics_as
from llmasos.text.token_sizes import TokenSizes
from llmasos.text.tokenizer_files import (
    CONFIG_FILE,
    FILLS_AT,
    RESOLVED,
    WRITTEN_BY,
    Numbers,
    TokenizerSources,
    read_backend,
    resolve,
)

TOKENIZER_FILE = "tokenizer.json"
_SHORT = 1024
"""Texts of at most this many characters are encoded in less than a millisecond."""
# Tokens that end a turn; one ends a text where the chat template writes it.
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|eot|>")
_CLEANS_UP_BPE = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"


class Tokenizer:
    """Encodes and decodes; it never changes after loading, so threads may share one."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        config: Mapping[str, Any],
        model_configs: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """backend: has all tokens; its truncation and padding are turned off.

        config: content of a resolved tokenizer_config.json. model_configs: contents of
        generation_config.json and config.json.
        """
        self._backend = backend
        self._config = config
        self._model_configs = model_configs
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = bool(config.get("split_special_tokens"))
        self._cleans_up = bool(config.get("clean_up_tokenization_spaces")) and bool(
            not isinstance(backend.model, models.BPE) or config.get(_CLEANS_UP_BPE)
        )
        self._numbered = Numbers(backend, config.get("unk_token"))
        self._fills_at: str | None = config.get(FILLS_AT, {}).get("text")
        others = ("tokenizer_class", "chat_template")
        tokens = {n: t for n, t in config.items() if isinstance(t, str) and n not in others}
        self._chat_templates = ChatTemplates(templates_of_config(config), tokens=tokens)

    @classmethod
    def load(cls, directory: Path | str) -> Tokenizer:
        """Read the tokenizer of a checkpoint or plan directory; raises CheckpointError."""
        directory = Path(directory)
        model_configs = tuple(
            read_json_object(directory / name, default={})
            for name in ("generation_config.json", "config.json")
        )
        sources = TokenizerSources.read(directory)
        config = sources.json(CONFIG_FILE) or {}
        if not config.get(RESOLVED):
            resolved = resolve(sources)
            return cls(resolved.backend, config=resolved.config, model_configs=model_configs)
        backend = read_backend(sources)
        assert backend is not None, "a plan has tokenizer.json"
        return cls(backend, config=config, model_configs=model_configs)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text; raises InvalidRequestError for text that is not Unicode."""
        with self._encoding(text):
            if len(text) <= _SHORT:
                encoding = self._backend.encode(text, add_special_tokens=add_special_tokens)
                return self._numbered(encoding.ids)
            # `encode` lets no other thread run, and this does, without offsets besides.
            batch = self._backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)
            return self._numbered(batch[0].ids)

    def encode_with_ends(self, text: str) -> tuple[list[int], list[int]]:
        """Encodes and also returns, for each token, the end of its text in characters.

        A character of several tokens belongs to the first of them.
        """
        with self._encoding(text):
            (encoding,) = self._backend.encode_batch([text])
        return self._numbered(encoding.ids), list(
            accumulate((end for _, end in encoding.offsets), max)
        )

    @contextmanager
    def _encoding(self, text: str) -> Generator[None]:
        """Checks a text before it is encoded and translates a panic of the library."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"the text is not valid Unicode: a lone surrogate at character {error.start}"
            ) from error
        if self._fills_at is not None and self._fills_at in text:
            raise InvalidRequestError(
                f"the text holds {self._fills_at!r}, which asks this model's tokenizer for "
                "fill-in-the-middle; that is not supported"
            )
        with panics_as(InvalidRequestError, "this model's tokenizer fails on the text"):
            yield

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of token ids; bytes that make no character become U+FFFD."""
        with panics_as(InvalidRequestError, "this model's tokenizer fails on the tokens"):
            text = self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return cleaned_up(text) if self._cleans_up else text

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], options: ChatOptions | None = None
    ) -> str:
        """The text of a conversation; raises InvalidRequestError, also without a template."""
        options = options or ChatOptions()
        return self._chat_templates.of(options).render(messages, options)

    def encode_chat(
        self, messages: Sequence[Mapping[str, Any]], options: ChatOptions | None = None
    ) -> list[int]:
        """Token ids of a conversation; the template writes its special tokens itself."""
        return self.encode(self.render_chat(messages, options), add_special_tokens=False)

    def copied_backend(self) -> tokenizers.Tokenizer:
        """A tokenizer of the library that does the same, whose settings the caller may change."""
        copy: tokenizers.Tokenizer = tokenizers.Tokenizer.from_str(self.to_json())
        copy.encode_special_tokens = self._backend.encode_special_tokens
        return copy

    def to_json(self) -> str:
        """The content of a tokenizer.json file that does the same."""
        text: str = self._backend.to_str()
        return text

    @property
    def chat_template_text(self) -> str:
        """The source of all chat templates of the model; empty if it has none."""
        return "".join(self._chat_templates.sources.values())

    @cached_property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every token that ends a text, ascending: those of all config files, and of chat turns."""
        ids = {i for config in self._model_configs for i in _token_ids(config.get("eos_token_id"))}
        template = self.chat_template_text
        names = [self._token("eos_token"), *(name for name in _TURN_ENDS if name in template)]
        ids |= {i for name in names if (i := self._id(name)) is not None}
        return tuple(sorted(ids))

    @cached_property
    def bos_token_id(self) -> int | None:
        """The token that begins a text, if the model has one."""
        return self._named_id("bos_token")

    @cached_property
    def pad_token_id(self) -> int | None:
        """The token that fills unused places, if the model has one."""
        return self._named_id("pad_token")

    @cached_property
    def vocab_size(self) -> int:
        """Number of tokens with a name here; the network's vocabulary may be larger."""
        return self._numbered.size

    @cached_property
    def token_sizes(self) -> TokenSizes:
        """Bounds on how much text one token can stand for."""
        return TokenSizes.of(self._backend)

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Ids, by text, of the tokens that decoding leaves out when it skips special tokens."""
        added = self._backend.get_added_tokens_decoder()
        special = {token.content: index for index, token in added.items() if token.special}
        return {text: index for text, index in special.items() if not self._backend.decode([index])}

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token's id by its own text, in a dictionary of the caller's."""
        return self._numbered.vocabulary()

    @property
    def class_name(self) -> str:
        """The class in tokenizer_config.json, without the end that says how it is written."""
        return str(self._config.get(WRITTEN_BY) or "").removesuffix("Fast")

    @property
    def languages(self) -> tuple[str, str]:
        """The source's and the target's code in tokenizer_config.json; empty if it has none."""
        get = self._config.get
        return str(get("source_lang") or ""), str(get("target_lang") or "")

    @property
    def is_source_last(self) -> bool:
        """True if NLLB's class is told to put the source's language behind the text."""
        return self.class_name == "NllbTokenizer" and bool(self._config.get("legacy_behaviour"))

    @property
    def special_ids(self) -> frozenset[int]:
        return frozenset(self.special_tokens.values())

    def named_token_id(self, name: str) -> int | None:
        """The token that tokenizer_config.json gives this name, such as eos_token."""
        return self._id(self._token(name))

    def _named_id(self, name: str) -> int | None:
        found = self.named_token_id(name)
        if found is not None:
            return found
        for config in self._model_configs:
            for token_id in _token_ids(config.get(f"{name}_id")):
                return token_id
        return None

    def _token(self, name: str) -> str | None:
        token = self._config.get(name)
        return token if isinstance(token, str) and token else None

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._backend.token_to_id(token)


def _token_ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
