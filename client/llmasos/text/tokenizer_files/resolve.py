"""Makes one tokenizer from all files of a checkpoint: the one that AutoTokenizer would load.

The steps are those of transformers 5, in its order, since the id of a token depends on the order
in which tokens are added. As there, `tokenizers` does the work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

from llmasos.errors import CheckpointError
from llmasos.text.rust_panics import panics_as
from llmasos.text.tokenizer_files.bare_tokenizer import default_tokens, of_class, of_sentencepiece
from llmasos.text.tokenizer_files.bounds import check_added_tokens
from llmasos.text.tokenizer_files.declared_tokens import (
    NAMED_TOKENS,
    DeclaredTokens,
    declared_tokens,
)
from llmasos.text.tokenizer_files.mistral_cut import mend_mistral_cut
from llmasos.text.tokenizer_files.rebuilt import FILL_TOKEN, RECIPES
from llmasos.text.tokenizer_files.recipe import Recipe
from llmasos.text.tokenizer_files.sources import (
    CONFIG_FILE,
    SENTENCEPIECE_FILE,
    TOKENIZER_FILE,
    TokenizerSources,
)
from llmasos.text.tokenizer_files.templates import chat_templates
from llmasos.text.tokenizer_files.token_entries import Token, text_of
from llmasos.text.tokenizer_files.tokenizer_class import GENERIC, tokenizer_class
from llmasos.text.tokenizer_files.vocabulary import (
    read_backend,
    read_sentencepiece,
)

RESOLVED = "llmasos_resolved"
"""Marks a tokenizer_config.json whose tokenizer.json is complete."""
FILLS_AT = "llmasos_fills_at"
"""In a resolved config: the text at which the tokenizer would fill in."""
WRITTEN_BY = "llmasos_written_by"
"""In a resolved config: the class that made it, which says where languages stand."""
_LANGUAGES = ("source_lang", "target_lang")
_DECODING = (
    "split_special_tokens",
    "clean_up_tokenization_spaces",
    "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output",
)
_LEGACY = "legacy_behaviour"  # of NLLB: where the source's language is


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTokenizer:
    """The tokenizer that all files together describe.

    backend: the tokenizer with all its tokens. config: what tokenizer.json cannot say: named
    tokens, chat templates, and how text is decoded.
    """

    backend: tokenizers.Tokenizer
    config: Mapping[str, Any]

    def files(self) -> dict[str, bytes]:
        """tokenizer.json and tokenizer_config.json of the resolved tokenizer."""
        config = json.dumps(self.config, indent=2, ensure_ascii=False)
        return {TOKENIZER_FILE: self.backend.to_str().encode(), CONFIG_FILE: config.encode()}


def resolve(sources: TokenizerSources) -> ResolvedTokenizer:
    """Raises CheckpointError, naming file and field, for what is damaged or not supported."""
    with panics_as(CheckpointError, f"{sources.name} has no tokenizer that can be made"):
        return _resolve(sources)


def _resolve(sources: TokenizerSources) -> ResolvedTokenizer:
    config = sources.json(CONFIG_FILE) or {}
    _refuse_versions(config, sources)
    name = tokenizer_class(sources, config)
    recipe = RECIPES.get(name)
    stored = read_backend(sources)
    model = read_sentencepiece(sources) if recipe is None and stored is None else None
    if recipe is None and stored is None and model is None:
        raise _no_vocabulary(sources)
    tokens = declared_tokens(
        sources,
        config,
        defaults=default_tokens(recipe, model),
        specific={} if recipe is None else recipe.specific,
        pad_token=_pad_token(stored),
        flags={} if recipe is None else recipe.flags,
    )
    given = {**config, **dict.fromkeys(NAMED_TOKENS)}
    given |= {name: text_of(token) for name, token in tokens.named.items()}
    if recipe is not None:
        backend, tokens = of_class(name, sources, given, tokens)
        if stored is not None and stored.post_processor is not None:
            backend.post_processor = stored.post_processor
    elif model is not None:
        backend, tokens = of_sentencepiece(model, config, tokens)
    else:
        assert stored is not None
        backend = stored
    listed = (*tokens.added.values(), *tokens.extra)
    check_added_tokens([text_of(token) for token in listed], sources.name)
    _add(backend, tokens)
    if recipe is not None and recipe.readds:
        texts = [text_of(token) for token in (*tokens.named.values(), *tokens.extra)]
        backend.add_tokens([AddedToken(text, special=True) for text in dict.fromkeys(texts)])
    mend_mistral_cut(backend, config, sources.model_config)
    backend.post_processor = _processor(
        backend, tokens, given, recipe, is_stored=stored is not None
    )
    return ResolvedTokenizer(
        backend=backend, config=_resolved_config(sources, config, tokens, name)
    )


def _processor(
    backend: tokenizers.Tokenizer,
    tokens: DeclaredTokens,
    given: Mapping[str, Any],
    recipe: Recipe | None,
    *,
    is_stored: bool,
) -> processors.PostProcessor:
    """Returns what puts tokens around each text: the class's, the file's, or what is configured."""
    if recipe is not None and recipe.ends is not None:
        return recipe.ends(backend, given)
    if recipe is not None and recipe.begins:
        return _ends(backend, tokens, {"add_bos_token": True})
    is_told = not is_stored and any(f"add_{end}_token" in given for end in ("bos", "eos"))
    current: processors.PostProcessor | None = backend.post_processor
    if is_told or current is None or (recipe is not None and recipe.forgets):
        return _ends(backend, tokens, {} if is_stored else given)
    return current


def _refuse_versions(config: Mapping[str, Any], sources: TokenizerSources) -> None:
    names = config.get("fast_tokenizer_files")
    if names and names != [TOKENIZER_FILE]:
        raise CheckpointError(
            f"{sources.path(CONFIG_FILE)}: fast_tokenizer_files is not supported, got "
            f"{short(names)}; only {TOKENIZER_FILE} is read"
        )


def _no_vocabulary(sources: TokenizerSources) -> CheckpointError:
    return CheckpointError(
        f"{sources.name} has no {TOKENIZER_FILE}, and no vocabulary that a known "
        f"tokenizer_class is made of, such as {SENTENCEPIECE_FILE}",
        hint="the tokenizer's save_pretrained(DIR), of transformers, puts it beside the weights",
    )


def _pad_token(stored: tokenizers.Tokenizer | None) -> str | None:
    padding = None if stored is None else stored.padding
    return None if padding is None else str(padding["pad_token"])


def _add(backend: tokenizers.Tokenizer, tokens: DeclaredTokens) -> None:
    """Adds the declared tokens; an existing token takes the flags declared last.

    A token that was special stays special.
    """
    there = backend.get_added_tokens_decoder().values()
    known = {token.content for token in (*there, *tokens.added.values())}
    special = {token.content for token in there if token.special}
    special |= {text_of(token) for token in tokens.named.values()}
    adding: list[Token] = list(tokens.added.values())
    for token in (*tokens.named.values(), *tokens.extra):
        if text_of(token) not in known and token not in adding:
            adding.append(token)
    added = [AddedToken(t, special=True) if isinstance(t, str) else t for t in adding]
    for token in added:
        token.special = token.special or token.content in special
        if token.special:
            special.add(token.content)
    backend.add_tokens(added)


def _ends(
    backend: tokenizers.Tokenizer, tokens: DeclaredTokens, config: Mapping[str, Any]
) -> processors.TemplateProcessing:
    """Adds a token before each text, after it, both, or neither, as add_bos_token and add_eos_token
    say.
    """
    around: list[list[tuple[str, int]]] = []
    for end in ("bos", "eos"):
        name = f"{end}_token"
        is_asked = bool(config.get(f"add_{name}")) and name in tokens.named
        text = text_of(tokens.named[name]) if is_asked else ""
        if is_asked and not text:
            raise CheckpointError(f"{CONFIG_FILE}: add_{name} is set, and {name} is empty")
        index = backend.token_to_id(text) if is_asked else None
        around.append([] if index is None else [(text, index)])
    before, after = around
    return processors.TemplateProcessing(
        single=[*(text for text, _ in before), "$A", *(text for text, _ in after)],
        special_tokens=list({*before, *after}),
    )


def _resolved_config(
    sources: TokenizerSources,
    config: Mapping[str, Any],
    tokens: DeclaredTokens,
    name: str,
) -> dict[str, Any]:
    recipe = RECIPES.get(name)
    templates = chat_templates(sources, config)
    resolved: dict[str, Any] = {
        RESOLVED: True,
        "tokenizer_class": GENERIC,
        **{name: text_of(token) for name, token in tokens.named.items()},
        **{name: bool(config[name]) for name in _DECODING if name in config},
        **({_LEGACY: True} if config.get(_LEGACY) is True else {}),
        **{name: config[name] for name in _LANGUAGES if isinstance(config.get(name), str)},
        **({} if recipe is None else {WRITTEN_BY: name}),
        **({} if templates is None else {"chat_template": templates}),
    }
    if recipe is not None and FILL_TOKEN in recipe.specific and resolved.get(FILL_TOKEN):
        resolved[FILLS_AT] = {"text": resolved[FILL_TOKEN]}
    return resolved
