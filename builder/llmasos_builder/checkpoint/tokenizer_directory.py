"""The tokenizer files of a checkpoint directory, with tokenizer.json made where it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmasos.errors import CheckpointError
from llmasos.json_file import parse_json_object, read_bytes
from llmasos.regular_file import is_there
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors

from llmasos_builder.checkpoint.merges import make_bpe

TOKENIZER_FILE = "tokenizer.json"
_CONFIG_FILE = "tokenizer_config.json"
_KEPT = (_CONFIG_FILE, "generation_config.json", "chat_template.jinja")
_GPT2_END = "<|endoftext|>"


def read_tokenizer_files(directory: Path) -> dict[str, bytes]:
    """Content by file name: always tokenizer.json, the others if they are there.

    tokenizer.json is made of GPT-2's vocab.json and merges.txt if it is missing. Raises
    CheckpointError if there is neither, or a file is not what its name says.
    """
    files = {name: read_bytes(directory / name) for name in _KEPT if is_there(directory / name)}
    parsed = {
        name: parse_json_object(content, name=str(directory / name))
        for name, content in files.items()
        if name.endswith(".json")
    }
    files[TOKENIZER_FILE] = _tokenizer_json(directory, parsed.get(_CONFIG_FILE, {}))
    return files


def _tokenizer_json(directory: Path, config: Mapping[str, Any]) -> bytes:
    path = directory / TOKENIZER_FILE
    if is_there(path):
        content = read_bytes(path)
        parse_json_object(content, name=str(path))
        return content
    vocab, merges = directory / "vocab.json", directory / "merges.txt"
    if is_there(vocab) and is_there(merges):
        return _byte_level_bpe(vocab, merges, config).to_str().encode()
    if (directory / "tokenizer.model").exists():
        raise CheckpointError(
            f"{directory} has tokenizer.model but no tokenizer.json",
            hint="transformers' AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) makes it",
        )
    raise CheckpointError(
        f"{directory} has no tokenizer.json, and no vocab.json with merges.txt",
        hint="the tokenizer's save_pretrained(DIR), of transformers, puts it beside the weights",
    )


def _byte_level_bpe(vocab_path: Path, merges_path: Path, config: Mapping[str, Any]) -> Tokenizer:
    """GPT-2's tokenizer, from the two files that it was published in.

    config: as OPT's has it, what else is a special token and which of them goes around a text.
    """
    vocab = parse_json_object(read_bytes(vocab_path), name=str(vocab_path))
    lines = read_bytes(merges_path).decode(errors="replace").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    try:
        tokenizer = Tokenizer(make_bpe(vocab, merges))
    except ValueError as error:
        raise CheckpointError(f"{vocab_path} and {merges_path} do not fit: {error}") from error
    prefix = config.get("add_prefix_space") is True
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    named = {name: _text_of(config.get(f"{name}_token")) for name in ("bos", "eos", "unk", "pad")}
    special = {text for text in (_GPT2_END, *named.values()) if text in vocab}
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in sorted(special)])
    around = {n: named[n] for n in ("bos", "eos") if config.get(f"add_{n}_token") is True}
    if around:
        tokenizer.post_processor = _around(tokenizer, around, vocab_path)
    return tokenizer


def _around(
    tokenizer: Tokenizer, tokens: Mapping[str, str], vocab_path: Path
) -> processors.TemplateProcessing:
    """A token before each text (bos), after it (eos), or both."""
    for name, text in tokens.items():
        if tokenizer.token_to_id(text) is None:
            raise CheckpointError(f"{vocab_path} does not have the {name}_token {text!r}")
    before, after = ([tokens[name]] if name in tokens else [] for name in ("bos", "eos"))
    return processors.TemplateProcessing(
        single=[*before, "$A", *after],
        special_tokens=[(text, tokenizer.token_to_id(text)) for text in {*before, *after}],
    )


def _text_of(token: object) -> str:
    """A special token is given as its text, or as an object with its content."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""
