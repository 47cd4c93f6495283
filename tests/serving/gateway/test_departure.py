"""What becomes of a request whose client goes before its answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from scripted_gateway import scripted_app
from scripted_model import Script

CHAT = {"messages": [{"role": "user", "content": "a long answer"}]}
ASKED = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/completions", {"prompt": "a long answer"}),
    ("/v1/completions", {"prompt": "a long answer", "stream": True}),
    ("/v1/responses", {"input": "a long answer"}),
    ("/v1/responses", {"input": "a long answer", "stream": True}),
    ("/v1/messages", {**CHAT, "max_tokens": 9}),
    ("/v1/messages", {**CHAT, "max_tokens": 9, "stream": True}),
]


@pytest.mark.parametrize(("path", "fields"), ASKED)
def test_an_answer_that_nobody_waits_for_is_cancelled(
    tiny_llama: Path, path: str, fields: dict[str, Any]
) -> None:
    script = Script(wait_s=60.0)
    asyncio.run(ask_and_go(scripted_app(tiny_llama, script), script, path, fields))
    assert (len(script.asked), script.cancelled) == (1, 1)


async def ask_and_go(app: Any, script: Script, path: str, fields: dict[str, Any]) -> None:
    """Sends a request, and disconnects when the model has been asked."""
    body = json.dumps({"model": "tiny", **fields}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        while not script.asked:
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    headers = [(b"content-type", b"application/json")]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": headers}
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""}
    async with app.router.lifespan_context(app):
        await asyncio.wait_for(app(scope, receive, send), 2.0)
