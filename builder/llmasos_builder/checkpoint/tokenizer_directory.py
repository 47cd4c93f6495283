"""The tokenizer files of a checkpoint directory, with tokenizer.json made where it is missing."""

from __future__ import annotations

from pathlib import Path

from llmasos.errors import CheckpointError
from llmasos.json_file import parse_json_object, read_bytes
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors

from llmasos_builder.checkpoint.merges import make_bpe

TOKENIZER_FILE = "tokenizer.json"
_KEPT = ("tokenizer_config.json", "generation_config.json", "chat_template.jinja")
_GPT2_END = "<|endoftext|>"


def read_tokenizer_files(directory: Path) -> dict[str, bytes]:
    """Content by file name: always tokenizer.json, the others if they are there.

    tokenizer.json is made of GPT-2's vocab.json and merges.txt if it is missing. Raises
    CheckpointError if there is neither, or a file is not what its name says.
    """
    files = {name: read_bytes(directory / name) for name in _KEPT if (directory / name).exists()}
    for name, content in files.items():
        if name.endswith(".json"):
            parse_json_object(content, name=str(directory / name))
    files[TOKENIZER_FILE] = _tokenizer_json(directory)
    return files


def _tokenizer_json(directory: Path) -> bytes:
    path = directory / TOKENIZER_FILE
    if path.exists():
        content = read_bytes(path)
        parse_json_object(content, name=str(path))
        return content
    vocab, merges = directory / "vocab.json", directory / "merges.txt"
    if vocab.exists() and merges.exists():
        return _byte_level_bpe(vocab, merges).to_str().encode()
    if (directory / "tokenizer.model").exists():
        raise CheckpointError(
            f"{directory} has tokenizer.model but no tokenizer.json",
            hint="transformers' AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) makes it",
        )
    raise CheckpointError(f"{directory} has no tokenizer.json, and no vocab.json with merges.txt")


def _byte_level_bpe(vocab_path: Path, merges_path: Path) -> Tokenizer:
    """GPT-2's tokenizer, from the two files that it was published in."""
    vocab = parse_json_object(read_bytes(vocab_path), name=str(vocab_path))
    lines = read_bytes(merges_path).decode(errors="replace").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    try:
        tokenizer = Tokenizer(make_bpe(vocab, merges))
    except ValueError as error:
        raise CheckpointError(f"{vocab_path} and {merges_path} do not fit: {error}") from error
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if _GPT2_END in vocab:
        tokenizer.add_special_tokens([AddedToken(_GPT2_END, special=True)])
    return tokenizer
