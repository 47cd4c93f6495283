"""What a plan says of an engine whose decoder attends to an encoder: how an answer begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llmasos.errors import CheckpointError


class EncoderDecoderRecord(BaseModel):
    """What stands around the network.

    decoder_start_token_id: the first token of the decoder; None if the target language gives it.
    forced_bos_token_id: the token after that one, unless a request names a language.
    forced_eos_token_id: the last token of an answer as long as it may be.
    tasks: what config.json recommends for each task, by its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decoder_start_token_id: int | None = Field(default=None, ge=0)
    forced_bos_token_id: int | None = Field(default=None, ge=0)
    forced_eos_token_id: int | None = Field(default=None, ge=0)
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def prefixes(self) -> dict[str, str]:
        """What stands before a text, by the task's name."""
        said = ((name, task.get("prefix")) for name, task in self.tasks.items())
        return {name: prefix for name, prefix in said if isinstance(prefix, str)}

    @classmethod
    def of_config(
        cls, config: Mapping[str, Any], generation: Mapping[str, Any], *, vocab_size: int
    ) -> EncoderDecoderRecord:
        """Returns the record of a checkpoint, as transformers' `generate` reads it.

        config: of config.json. generation: of generation_config.json, which wins. Raises
        CheckpointError for a token outside the vocabulary.
        """

        def token(*names: str) -> int | None:
            for name, said in ((n, s) for n in names for s in (generation, config)):
                value = said.get(name)
                if isinstance(value, list) and len(value) == 1:
                    (value,) = value
                if value is None:
                    continue
                if type(value) is not int or not 0 <= value < vocab_size:
                    raise CheckpointError(
                        f"{name} must be a token of the vocabulary, from 0 to {vocab_size - 1}, "
                        f"got {value!r}"
                    )
                return value
            return None

        return cls(
            decoder_start_token_id=token("decoder_start_token_id", "bos_token_id"),
            forced_bos_token_id=token("forced_bos_token_id"),
            forced_eos_token_id=token("forced_eos_token_id"),
            tasks=_tasks(config),
        )


def _tasks(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    tasks = config.get("task_specific_params")
    tasks = tasks if isinstance(tasks, dict) else {}
    for name, params in tasks.items():
        if not isinstance(params, dict):
            raise CheckpointError(
                f"config.json: task_specific_params: {name} must be an object, got {params!r:.60}"
            )
    return {str(name): dict(params) for name, params in tasks.items()}
