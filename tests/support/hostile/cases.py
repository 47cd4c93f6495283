"""Hostile checkpoints: by name, what is changed in a sound one and what the refusal must say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hostile import case_files, case_gguf, case_json, case_pickles, case_safetensors
from hostile.making import sound


@dataclass(frozen=True, slots=True)
class Case:
    """change: of a sound checkpoint's directory. message: empty for one that is read."""

    change: Callable[[Path], Path | None]
    message: str

    def make(self, directory: Path) -> Path:
        """What to open: the directory, or what the change gives in its place."""
        return self.change(sound(directory)) or directory


def _cases() -> Mapping[str, Case]:
    found: dict[str, Case] = {"sound": Case(lambda _: None, "")}
    modules = (case_files, case_json, case_safetensors, case_pickles, case_gguf)
    for module in modules:
        for name, (change, message) in module.CASES.items():
            kind = module.__name__.rpartition("_")[2]
            found[f"{kind}: {name}"] = Case(change, message)
    return found


CASES = _cases()
