"""Stands for lm_eval: the part of it that `llmasos_app.lm_eval` is written against."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


def load_model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class that the module registers with the harness as `llmasos`."""
    registered: dict[str, Any] = {}
    model, registry = ModuleType("lm_eval.api.model"), ModuleType("lm_eval.api.registry")

    def register(name: str) -> Any:
        return lambda cls: registered.setdefault(name, cls)

    model.TemplateLM = type("TemplateLM", (), {})  # type: ignore[attr-defined]
    registry.register_model = register  # type: ignore[attr-defined]
    for module in (ModuleType("lm_eval"), ModuleType("lm_eval.api"), model, registry):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "llmasos_app.lm_eval", raising=False)
    __import__("llmasos_app.lm_eval")
    del sys.modules["llmasos_app.lm_eval"]  # it is for this test alone, and no other gets it back
    return registered["llmasos"]


def request(*arguments: object) -> SimpleNamespace:
    """What the harness asks, by its arguments."""
    return SimpleNamespace(args=arguments)
