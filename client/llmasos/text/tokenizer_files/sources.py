"""Every file of a directory from which transformers reads a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmasos.errors import CheckpointError
from llmasos.files.json_file import parse_json_object, read_bytes, read_json_object
from llmasos.files.regular_file import is_there

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
VOCAB_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
WORDS_FILE = "vocab.txt"
SENTENCEPIECE_FILE = "tokenizer.model"
SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "source.spm")
TEMPLATE_FILE = "chat_template.jinja"
TEMPLATE_DIRECTORY = "additional_chat_templates"
MODEL_CONFIG_FILE = "config.json"
# Vocabularies that transformers converts where tokenizer.json is missing, and this does not.
CONVERTED_FILES = ("tekken.json", "tiktoken.model")
# Where tokenizer.json is there, transformers reads none of these.
_VOCABULARIES = (VOCAB_FILE, MERGES_FILE, WORDS_FILE, *SENTENCEPIECE_FILES)
_MAX_TEMPLATES = 64
_FILES = (
    TOKENIZER_FILE,
    CONFIG_FILE,
    SPECIAL_TOKENS_FILE,
    ADDED_TOKENS_FILE,
    *_VOCABULARIES,
    TEMPLATE_FILE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerSources:
    """The content of the files that exist.

    name: the directory, for messages. contents: content by the file's name, relative to the
    directory. model_config: the content of config.json; empty if there is none.
    """

    name: str
    contents: Mapping[str, bytes]
    model_config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    _parsed: dict[str, dict[str, Any]] = field(
        default_factory=dict[str, dict[str, Any]], init=False, repr=False, compare=False
    )

    @classmethod
    def read(cls, directory: Path) -> TokenizerSources:
        """Read a directory; raises CheckpointError for a file that cannot be read."""
        names = [name for name in _FILES if is_there(directory / name)]
        if TOKENIZER_FILE in names:  # which transformers then reads alone
            names = [name for name in names if name not in _VOCABULARIES]
        else:
            _refuse_converted(directory)
        templates = sorted((directory / TEMPLATE_DIRECTORY).glob("*.jinja"))
        if len(templates) > _MAX_TEMPLATES:
            raise CheckpointError(
                f"{directory / TEMPLATE_DIRECTORY} has {len(templates)} templates, at most "
                f"{_MAX_TEMPLATES} are read"
            )
        names += [f"{TEMPLATE_DIRECTORY}/{path.name}" for path in templates]
        return cls(
            name=str(directory),
            contents={name: read_bytes(directory / name) for name in names},
            model_config=read_json_object(directory / MODEL_CONFIG_FILE, default={}),
        )

    def json(self, name: str) -> dict[str, Any] | None:
        """The object in a file, None where it is missing; raises CheckpointError."""
        if name not in self.contents:
            return None
        if name not in self._parsed:
            parsed = parse_json_object(self.contents[name], name=self.path(name))
            self._parsed[name] = parsed
        return self._parsed[name]

    def text(self, name: str) -> str:
        """A file's text with its line ends as \\n; raises CheckpointError if it is not UTF-8."""
        try:
            text = self.contents[name].decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{self.path(name)} is not UTF-8 text (byte {error.start})"
            ) from error
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def path(self, name: str) -> str:
        """The name of a file in messages."""
        return str(Path(self.name) / name)


def _refuse_converted(directory: Path) -> None:
    for name in CONVERTED_FILES:
        if is_there(directory / name):
            raise CheckpointError(
                f"{directory} has {name} but no tokenizer.json",
                hint="transformers' AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) "
                "makes it",
            )
