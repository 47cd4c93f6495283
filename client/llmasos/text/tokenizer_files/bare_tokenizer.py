"""Makes the tokenizer to which the declared tokens are then added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tokenizers import AddedToken, Tokenizer

from llmasos.text.tokenizer_files.declared_tokens import DeclaredTokens
from llmasos.text.tokenizer_files.rebuilt import RECIPES
from llmasos.text.tokenizer_files.recipe import Recipe, flag_of
from llmasos.text.tokenizer_files.sentencepiece_model import SentencePieceModel
from llmasos.text.tokenizer_files.sentencepiece_tokenizer import make_of_sentencepiece
from llmasos.text.tokenizer_files.sources import TokenizerSources
from llmasos.text.tokenizer_files.token_entries import text_of
from llmasos.text.tokenizer_files.unnumbered import check_numbers, placed
from llmasos.text.tokenizer_files.vocabulary import model_tokens, read_vocabulary


def of_class(
    name: str, sources: TokenizerSources, given: Mapping[str, Any], tokens: DeclaredTokens
) -> tuple[Tokenizer, DeclaredTokens]:
    """Makes the tokenizer of a class, and takes the class's special tokens where no file lists any.

    name: one of RECIPES. given: tokenizer_config.json with all named tokens. Raises
    CheckpointError.
    """
    recipe = RECIPES[name]
    vocabulary = read_vocabulary(sources, name, recipe, given)
    is_null = recipe.fills and not tokens.extra and given.get("extra_special_tokens") is None
    is_null = is_null and given.get("additional_special_tokens") is None
    if recipe.extra is not None and (is_null or not tokens.has_extra):
        tokens = replace(tokens, extra=tuple(recipe.extra(vocabulary.added, given)))
    if recipe.more is not None:
        known = {text_of(token) for token in tokens.extra}
        more = recipe.more(vocabulary.added, given, vocabulary.vocab)
        missing = [token for token in more if text_of(token) not in known]
        tokens = replace(tokens, extra=(*missing, *tokens.extra))
    if recipe.numbered_by is not None:
        check_numbers(vocabulary.vocab, recipe.numbered_by, str(given["unk_token"]))
        vocabulary = replace(vocabulary, vocab=placed(vocabulary.vocab, tokens))
    return recipe.make(vocabulary, given), tokens


def default_tokens(
    recipe: Recipe | None, model: SentencePieceModel | None
) -> Mapping[str, str | None]:
    """The named tokens where no file names them: the class's, or the SentencePiece model's."""
    if recipe is not None:
        return recipe.tokens
    if model is None:
        return {}
    ends = {
        "bos_token": (model.bos_id, model.bos_piece),
        "eos_token": (model.eos_id, model.eos_piece),
        "unk_token": (model.unk_id, model.unk_piece),
    }
    return {name: text for name, (index, text) in ends.items() if index >= 0}


def of_sentencepiece(
    model: SentencePieceModel, config: Mapping[str, Any], tokens: DeclaredTokens
) -> tuple[Tokenizer, DeclaredTokens]:
    """Makes the tokenizer, and takes the model's control tokens where no file lists any."""
    backend = make_of_sentencepiece(
        model,
        renamed={index: token.content for index, token in tokens.added.items()},
        legacy=flag_of(config, "legacy", default=True, absent=False),
    )
    if model.add_dummy_prefix:  # these are found before anything is normalized
        added = {index: _unnormalized(token) for index, token in tokens.added.items()}
        tokens = replace(tokens, added=added)
    if not tokens.has_extra:
        tokens = replace(tokens, extra=tuple(t for t in model_tokens(model) if t.special))
    return backend, tokens


def _unnormalized(token: AddedToken) -> AddedToken:
    return AddedToken(
        token.content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=False,
        special=token.special,
    )
