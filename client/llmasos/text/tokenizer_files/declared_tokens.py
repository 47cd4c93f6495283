"""Special and added tokens, as the files beside tokenizer.json declare them.

The files overlap. Where tokenizer_config.json has added_tokens_decoder, that alone counts.
Otherwise special_tokens_map.json comes before tokenizer_config.json, and tokenizer.json
before added_tokens.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from reprlib import repr as short
from typing import Any

from tokenizers import AddedToken

from llmasos.errors import CheckpointError
from llmasos.text.tokenizer_files.sources import (
    ADDED_TOKENS_FILE,
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_FILE,
    TokenizerSources,
)
from llmasos.text.tokenizer_files.token_entries import (
    Token,
    added_token,
    numbered,
    text_of,
    token_of,
    tokens_of,
)

NAMED_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
_DECODER = "added_tokens_decoder"
_MORE = "additional_special_tokens"  # the older name of the next one
_EXTRA = "extra_special_tokens"
_SPECIFIC = "model_specific_special_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredTokens:
    """Tokens in the order in which transformers adds them.

    added: those with an id of their own, which decides their order, in that order. named: special
    tokens by their names, such as bos_token. extra: special tokens without a name. has_extra:
    True if a file has the field of the latter, be it empty.
    """

    added: Mapping[int, AddedToken]
    named: Mapping[str, Token]
    extra: tuple[Token, ...]
    has_extra: bool


@dataclass(slots=True, kw_only=True)
class _Fields:
    """The tokens that the files read so far declare.

    named: a null unnames a token. specific: named tokens of this model alone. extra: None if no
    file has the field, which lets special_tokens_map.json use the older name.
    """

    named: dict[str, Token | None]
    found: dict[str, Token] = field(default_factory=dict[str, Token])
    specific: dict[str, Token] = field(default_factory=dict[str, Token])
    extra: list[Token] | None = None
    has_extra: bool = False
    plain: set[str] = field(default_factory=set[str])


def declared_tokens(
    sources: TokenizerSources,
    config: Mapping[str, Any],
    *,
    defaults: Mapping[str, str | None],
    specific: Mapping[str, str],
    pad_token: str | None,
    flags: Mapping[str, Mapping[str, bool]],
) -> DeclaredTokens:
    """Returns the tokens that the files declare.

    defaults, specific: the class's named tokens, used where no file names one. pad_token: the token
    of the padding in tokenizer.json. flags: of named tokens that are given as text. Raises
    CheckpointError, naming the file and the field.
    """
    fields = _of_config(config, sources.path(CONFIG_FILE))
    if _DECODER in config:
        added = _of_decoder(config[_DECODER], f"{sources.path(CONFIG_FILE)}: {_DECODER}")
        by_text = {token.content: token for token in added.values()}
    else:
        _merge_special_tokens(fields, sources)
        added, by_text = _legacy_added(fields, sources)
    named: dict[str, Token | None] = dict(defaults)
    for name, token in fields.named.items():
        named[name] = None if token is None else by_text.get(text_of(token), token)
    named.setdefault("pad_token", pad_token)
    ordered = {name: named.get(name) for name in NAMED_TOKENS}
    own = {n: fields.found.get(n, t) for n, t in specific.items() if config.get(n, t) is not None}
    ordered |= {**own, **fields.found, **fields.specific}
    return DeclaredTokens(
        added={index: added[index] for index in sorted(added)},
        named={
            name: AddedToken(token, **flags[name])
            if isinstance(token, str) and name in flags
            else token
            for name, token in ordered.items()
            if token is not None
        },
        extra=(*(fields.extra or ()), *(() if fields.has_extra else own.values())),
        has_extra=fields.has_extra,
    )


def _of_config(config: Mapping[str, Any], path: str) -> _Fields:
    """Reads the tokens of tokenizer_config.json."""
    fields = _Fields(named={})
    for name, value in config.items():
        where = f"{path}: {name}"
        if name in NAMED_TOKENS:
            fields.named[name] = None if value is None else token_of(value, where)
            if isinstance(value, str):
                fields.plain.add(value)
        elif name.endswith("_token") and isinstance(value, str):
            fields.specific[name] = value
        elif name.endswith("_token") and isinstance(value, Mapping) and "__type" in value:
            fields.found[name] = added_token(value, where)
    listed = config.get(_EXTRA) or config.get(_MORE)
    name = _EXTRA if config.get(_EXTRA) else _MORE
    if isinstance(listed, Mapping):
        fields.specific |= _specific(listed, f"{path}: {name}")
    elif _EXTRA in config or _MORE in config:
        fields.has_extra = True
        fields.extra = tokens_of(listed, f"{path}: {name}")
        fields.plain |= {token for token in listed or () if isinstance(token, str)}
    if not fields.specific and config.get(_SPECIFIC):
        fields.specific = _specific(config[_SPECIFIC], f"{path}: {_SPECIFIC}")
    return fields


def _specific(listed: Any, where: str) -> dict[str, Token]:
    if not isinstance(listed, Mapping):
        raise CheckpointError(f"{where} must map names to tokens, got {short(listed)}")
    return {str(name): token_of(token, where) for name, token in listed.items()}


def _of_decoder(listed: Any, where: str) -> dict[int, AddedToken]:
    if not isinstance(listed, Mapping):
        raise CheckpointError(f"{where} must map ids to tokens, got {short(listed)}")
    entries = numbered(listed.items(), where)
    return {index: added_token(entry, where) for index, entry in entries.items()}


def _merge_special_tokens(fields: _Fields, sources: TokenizerSources) -> None:
    """Merges special_tokens_map.json, which takes precedence over tokenizer_config.json."""
    path = sources.path(SPECIAL_TOKENS_FILE)
    listed = sources.json(SPECIAL_TOKENS_FILE) or {}
    for name, value in listed.items():
        where = f"{path}: {name}"
        if name == _EXTRA and isinstance(value, Mapping):
            fields.specific |= _specific(value, where)
            fields.extra = None
        elif name == _EXTRA:
            tokens = tokens_of(value, where, special=True)
            more = [token for token in tokens if token not in (fields.extra or ())]
            fields.extra = [*(fields.extra or ()), *more]
            fields.plain |= {text_of(token) for token in more}
        elif name.endswith("_token"):
            token = None if value is None else token_of(value, where, special=True)
            fields.plain |= set() if token is None else {text_of(token)}
            if name in NAMED_TOKENS:
                fields.named[name] = token
            elif token is not None:
                fields.found[name] = token
        elif name != _MORE:
            raise CheckpointError(f"{where} is not a special token, and is not supported")
    fields.has_extra = fields.extra is not None
    if fields.extra is None and _MORE in listed:
        fields.extra = tokens_of(listed[_MORE], f"{path}: {_MORE}")


def _legacy_added(
    fields: _Fields, sources: TokenizerSources
) -> tuple[dict[int, AddedToken], dict[str, AddedToken]]:
    """The added tokens of added_tokens.json and of tokenizer.json, by their id and text."""
    where = sources.path(ADDED_TOKENS_FILE)
    listed = (sources.json(ADDED_TOKENS_FILE) or {}).items()
    added: dict[int, AddedToken] = {}
    for index, text in numbered(((index, text) for text, index in listed), where).items():
        special = text in fields.plain
        added[index] = AddedToken(text, special=special, normalized=not special)
    by_text = {token.content: token for token in added.values()}
    where = f"{sources.path(TOKENIZER_FILE)}: added_tokens"
    for entry in (sources.json(TOKENIZER_FILE) or {}).get("added_tokens") or ():
        token = added_token(entry, where)
        (index,) = numbered([(entry.get("id"), token)], where)
        added[index] = by_text[token.content] = token
    return added, by_text
