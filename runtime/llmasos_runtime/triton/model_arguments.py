"""The arguments that Triton passes to a Python model: its directory and its parameters."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llmasos.contract.served_names import sibling
from llmasos.errors import PlanError

OVERRIDE = "LLMASOS_ENGINE_"
"""Prefix of the environment variables that replace a parameter of the model `engine`."""
_UNFILLED = re.compile(r"\$\{.*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArguments:
    """directory: the version directory, which holds model.py. parameters: of config.pbtxt.

    num_instances: processes of the model that Triton starts.
    A parameter that is empty, or a template that nobody filled ("${...}"), counts as absent.
    """

    directory: Path
    parameters: Mapping[str, str]
    num_instances: int = 1

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> ModelArguments:
        """arguments: what Triton passes to `initialize`."""
        config = json.loads(arguments["model_config"])
        declared = config.get("parameters", {})
        texts = {name: str(item["string_value"]).strip() for name, item in declared.items()}
        return cls(
            directory=Path(arguments["model_repository"]) / arguments["model_version"],
            parameters={k: v for k, v in texts.items() if v and not _UNFILLED.fullmatch(v)},
            num_instances=sum(group.get("count", 1) for group in config.get("instance_group", [])),
        )

    def overridden(self, environment: Mapping[str, str]) -> ModelArguments:
        """Returns these with the parameters that environment variables beginning with OVERRIDE
        replace.
        """
        replaced = {
            name.removeprefix(OVERRIDE).lower(): value
            for name, value in environment.items()
            if name.startswith(OVERRIDE) and value
        }
        return replace(self, parameters={**self.parameters, **replaced})

    @property
    def model(self) -> str:
        """Name of the model in its server."""
        return self.directory.parent.name

    @property
    def served(self) -> str | None:
        """The name of a user for the model that this is a part of; None for one without."""
        return self.model.rpartition(".")[0] or None

    def sibling(self, part: str) -> str:
        """Returns the name of another part of the same served model, such as `detokenizer`."""
        return sibling(self.model, part)

    def path(self, name: str) -> Path:
        """Returns a parameter as a path, relative to the version directory.

        Links in it stay unresolved: their targets may have letters that Triton's Python cannot pass
        on.
        """
        if name not in self.parameters:
            raise PlanError(f"parameter {name} of {self.directory.parent.name} is missing")
        text = self.parameters[name]
        if not text.isascii():
            raise PlanError(f"parameter {name} must be a path in ASCII, got {text!r}")
        return Path(os.path.normpath(self.directory / text))

    def integer(self, name: str) -> int | None:
        """Returns a parameter as an integer of at least 1; None if absent."""
        text = self.parameters.get(name)
        if text is None:
            return None
        if not text.isdecimal() or int(text) < 1:
            raise PlanError(f"parameter {name} must be a number of at least 1, got {text!r}")
        return int(text)

    def boolean(self, name: str) -> bool | None:
        """Returns a parameter of `true` or `false`; None if absent."""
        text = self.parameters.get(name)
        if text is None:
            return None
        if text.lower() not in ("true", "false"):
            raise PlanError(f"parameter {name} must be true or false, got {text!r}")
        return text.lower() == "true"
