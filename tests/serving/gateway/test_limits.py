"""What a request must pass before it is parsed, for each key by itself."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from llmasos.errors import ServerError
from llmasos_serving.gateway.limits import Limits
from llmasos_serving.gateway.process import GatewayOptions
from llmasos_serving.gateway.rate_limit import RateLimit
from llmasos_serving.gateway.settings import GatewaySettings
from scripted_gateway import scripted_gateway
from scripted_model import Script
from starlette.types import Message, Receive, Scope, Send


class Held:
    """An application that answers when it is let go."""

    def __init__(self, **settings: Any) -> None:
        self.app = Limits(self._answer, GatewaySettings(**settings))
        self.go = asyncio.Event()
        self.bodies: list[bytes] = []

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append((await receive())["body"])
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def ask(self, key: str = "", *, pieces: tuple[bytes, ...] = (b"{}",)) -> Any:
        """The status of a request, its code if it is refused, and its header Retry-After."""
        sent: list[Message] = []
        left = list(pieces)

        async def receive() -> Message:
            if not left:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": left.pop(0), "more_body": True}

        async def send(message: Message) -> None:
            sent.append(message)

        async def received() -> Message:
            message = await receive()
            return {**message, "more_body": bool(left) or not pieces[-1]}

        scope: Scope = {
            "type": "http",
            "path": "/v1/models",
            "headers": [(b"authorization", f"Bearer {key}".encode())],
            "client": ("10.0.0.1", 5),
        }
        await self.app(scope, received, send)
        status = sent[0]["status"]
        body = b"".join(message.get("body", b"") for message in sent[1:])
        headers = dict(sent[0]["headers"])
        code = json.loads(body)["error"]["code"] if body else None
        return status, code, headers.get(b"retry-after")


def test_each_key_has_room_of_its_own_within_that_of_all() -> None:
    async def run() -> None:
        held = Held(api_keys=("a", "b", "c"), max_concurrent=2, max_concurrent_in_all=3)
        first = [asyncio.create_task(held.ask("a")) for _ in range(2)]
        await asyncio.sleep(0)
        assert await held.ask("a") == (429, "queue_full", b"1")
        first.append(asyncio.create_task(held.ask("b")))
        await asyncio.sleep(0.01)
        assert await held.ask("c") == (429, "queue_full", b"1")
        held.go.set()
        assert [status for status, _, _ in await asyncio.gather(*first)] == [200] * 3
        assert (await held.ask("a"))[0] == 200

    asyncio.run(run())


def test_a_client_that_asks_too_often_is_told_when_to_come_again() -> None:
    async def run() -> None:
        held = Held(api_keys=("a", "b"), max_requests_per_minute=2)
        held.go.set()
        assert [(await held.ask("a"))[0] for _ in range(2)] == [200, 200]
        assert await held.ask("a") == (429, "rate_limit_exceeded", b"30")
        assert (await held.ask("b"))[0] == 200
        assert (await held.ask("wrong"))[0] == 401

    asyncio.run(run())


def test_a_bucket_fills_with_time_and_no_further() -> None:
    times = iter([0.0, 0.0, 0.0, 15.0, 30.0, 1000.0, 1000.0, 1000.0])
    limit = RateLimit(2, now=lambda: next(times))
    waits = [limit.wait_s("x") for _ in range(8)]
    assert waits == [0.0, 0.0, 30.0, 15.0, 0.0, 0.0, 0.0, 30.0]


def test_a_body_that_comes_in_pieces_arrives_whole_and_in_time() -> None:
    async def run() -> None:
        held = Held(body_timeout_s=0.05)
        held.go.set()
        assert (await held.ask(pieces=(b'{"a":', b"1}")))[0] == 200
        assert held.bodies == [b'{"a":1}']
        assert await held.ask(pieces=(b"{", b"")) == (408, "request_timeout", None)
        assert len(held.bodies) == 1

    asyncio.run(run())


BODIES: dict[str, tuple[str | bytes, str | None]] = {
    "lists": ('{"messages":' + "[" * 65, "too_deep"),
    "objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, "too_deep"),
    "5 MB of lists": ("[" * 5_000_000, "too_deep"),
    "a number of a million digits": ('{"max_tokens":' + "9" * 1_000_000 + "}", None),
    "NaN": ('{"model":"tiny","temperature":NaN}', None),
    "a number that is infinite": ('{"model":1e999}', None),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "invalid_json"),
    "a lone surrogate": ('{"a":"\ud800"}'.encode("utf-8", "surrogatepass"), None),
    "no UTF-8": (b'{"a":"\xff"}', None),
    "nothing": ("", None),
    "null": ("null", None),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_refused_before_anything_is_asked(tiny_llama: Path, name: str) -> None:
    body, code = BODIES[name]
    script = Script()
    with scripted_gateway(tiny_llama, script) as client:
        for path in ("chat/completions", "completions", "responses", "messages"):
            answer = client.post(
                f"/v1/{path}", content=body, headers={"content-type": "application/json"}
            )
            assert 400 <= answer.status_code < 500
            error = answer.json()["error"]
            assert error["message"]
            if code is not None and path == "chat/completions":
                assert error["code"] == code
    assert not script.asked


def test_brackets_in_a_prompt_are_text(tiny_llama: Path) -> None:
    script = Script()
    with scripted_gateway(tiny_llama, script) as client:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "[" * 400}]}
        assert client.post("/v1/chat/completions", json=body).status_code == 200


def test_pages_of_other_origins_get_nothing(tiny_llama: Path) -> None:
    """Without CORS headers a browser shows an answer to no page but ours."""
    with scripted_gateway(tiny_llama, Script()) as client:
        origin = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        asked = client.options("/v1/chat/completions", headers=origin)
        assert asked.status_code == 405
        got = client.get("/v1/models", headers=origin)
        for answer in (asked, got):
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_no_route_cancels_what_another_client_started(tiny_llama: Path) -> None:
    """A request ends with the connection that asked for it: no route takes an id."""
    with scripted_gateway(tiny_llama, Script()) as client:
        paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
        assert not [path for path in paths if "{" in path and "models" not in path]
        assert not [path for path in paths if "cancel" in path or "abort" in path]


def test_options_of_tls_are_checked_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="TLS needs both"):
        GatewayOptions(tls_key=tmp_path / "key.pem")
    with pytest.raises(ServerError, match=r"tls_certificate .*cert.pem is no file"):
        GatewayOptions(tls_key=tmp_path / "key.pem", tls_certificate=tmp_path / "cert.pem")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(ServerError, match="cannot be used"):
        GatewayOptions(tls_key=tmp_path / "key.pem", tls_certificate=tmp_path / "cert.pem")


def test_limits_are_positive() -> None:
    with pytest.raises(ServerError, match="max_requests_per_minute must be at least 1, got 0"):
        GatewayOptions(max_requests_per_minute=0)
