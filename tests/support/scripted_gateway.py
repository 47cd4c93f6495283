"""A gateway over a model that says what it is asked to say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from fastapi.testclient import TestClient
from llmasos.text.tokenizer import Tokenizer
from llmasos_serving.gateway.answer.tool_calls import CallFormat
from llmasos_serving.gateway.app import make_app
from llmasos_serving.gateway.served_model import ServedModel
from llmasos_serving.gateway.settings import GatewaySettings
from scripted_model import Script, ScriptedModel


def scripted_app(
    tokenizer: Path,
    script: Script,
    *,
    form: CallFormat | None = None,
    names: Sequence[str] = ("tiny",),
    **settings: Any,
) -> FastAPI:
    """The application. names: of models that all say the same. settings: of GatewaySettings."""

    def connect() -> list[ServedModel]:
        return [
            ServedModel(
                client=cast("Any", ScriptedModel(script)),
                name=name,
                max_seq_len=512,
                tokenizer=Tokenizer.load(tokenizer),
                call_format=form,
            )
            for name in names
        ]

    return make_app(connect, GatewaySettings(**settings))


def scripted_gateway(
    tokenizer: Path, script: Script, *, form: CallFormat | None = None, **settings: Any
) -> TestClient:
    """A client of it, which is a context manager."""
    app = scripted_app(tokenizer, script, form=form, **settings)
    return TestClient(app, raise_server_exceptions=False)
