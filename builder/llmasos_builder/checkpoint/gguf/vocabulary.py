"""The tokenizer part of a GGUF file's metadata: tokens, their types, their roles."""

from __future__ import annotations

from reprlib import repr as short
from typing import Any

from llmasos.errors import CheckpointError
from tokenizers import AddedToken

from llmasos_builder.checkpoint.gguf.file import GGUFFile
from llmasos_builder.checkpoint.gguf.sampling import recommended_sampling

_TEMPLATE = "tokenizer.chat_template"


class Vocabulary:
    """`tokenizer.*` of the metadata, with errors that name file and key."""

    def __init__(self, file: GGUFFile) -> None:
        self._file = file
        self.tokens: list[str] = self.array("tokens", str)
        count = len(self.tokens)
        self._types: list[int] = self.array("token_type", int) if self.has("token_type") else []
        if len(self._types) not in {0, count}:
            raise self.refusal("token_type", f"has {len(self._types)} entries for {count} tokens")

    def has(self, key: str) -> bool:
        return f"tokenizer.ggml.{key}" in self._file.metadata

    def text(self, key: str, default: str | None = None) -> str:
        return str(self._get(key, str, default))

    def array(self, key: str, kind: type) -> list[Any]:
        values = self._get(key, list, None)
        if not all(isinstance(value, kind) for value in values):
            raise self.refusal(key, f"must hold {kind.__name__} alone")
        return list(values)

    def flag(self, key: str, *, default: bool) -> bool:
        return bool(self._get(key, bool, default))

    def token(self, name: str) -> str | None:
        """Returns the text of bos, eos, unknown, padding, eot or eom; None if the file names
        none.
        """
        index = self._file.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(index, int) and 0 <= index < len(self.tokens):
            return self.tokens[index]
        return None

    def added(self, *types: int, special: bool) -> list[AddedToken]:
        """Returns the tokens of these types, which are split off from text before anything else."""
        pairs = zip(self.tokens, self._types, strict=False)
        return [AddedToken(t, special=special, normalized=False) for t, k in pairs if k in types]

    def ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    def config(self) -> dict[str, Any]:
        names = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
        named = {f"{ours}_token": self.token(theirs) for ours, theirs in names.items()}
        templates = self._chat_templates()
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **{name: token for name, token in named.items() if token is not None},
            "clean_up_tokenization_spaces": False,
            **({"chat_template": templates} if templates else {}),
        }

    def _chat_templates(self) -> str | list[dict[str, str]] | None:
        """Returns one template, or several by name, as in tokenizer_config.json."""
        found = {"default": self._file.metadata.get(_TEMPLATE)}
        for key, value in self._file.metadata.items():
            if key.startswith(f"{_TEMPLATE}."):
                found[key.removeprefix(f"{_TEMPLATE}.")] = value
        texts = {name: text for name, text in found.items() if isinstance(text, str)}
        if list(texts) == ["default"]:
            return texts["default"]
        return [{"name": name, "template": text} for name, text in texts.items()] or None

    def generation_config(self) -> dict[str, Any]:
        ids = self.ids()
        ends = {ids[t] for n in ("eos", "eot", "eom") if (t := self.token(n)) is not None}
        bos, pad = self.token("bos"), self.token("padding")
        return {
            **({"bos_token_id": ids[bos]} if bos is not None else {}),
            **({"pad_token_id": ids[pad]} if pad is not None else {}),
            "eos_token_id": sorted(ends),
            **recommended_sampling(self._file),
        }

    def refusal(self, key: str, problem: str) -> CheckpointError:
        """The error to raise about one key."""
        return CheckpointError(f"{self._file.path}: tokenizer.ggml.{key} {problem}")

    def _get(self, key: str, kind: type, default: Any) -> Any:
        value = self._file.metadata.get(f"tokenizer.ggml.{key}", default)
        if not isinstance(value, kind):
            problem = (
                "is missing" if value is None else f"must be {kind.__name__}, got {short(value)}"
            )
            raise self.refusal(key, problem)
        return value
