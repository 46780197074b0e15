# SPDX-License-Identifier: GPL-3.0-or-later
"""Every answer says which release gave it, whatever the application is."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILES = Path(__file__).parents[3] / "roles" / "processes" / "files"
OURS = [("X-Slipway-Release", "r1"), ("X-Slipway-Slot", "green")]
OURS_ASGI = [(b"x-slipway-release", b"r1"), (b"x-slipway-slot", b"green")]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name.removesuffix(".py").replace(".", "_"), FILES / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.setenv("SLIPWAY_RELEASE", "r1")
    monkeypatch.setenv("SLIPWAY_SLOT", "green")
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield load("slipway_entry.py")
    for name in set(sys.modules) - known:
        del sys.modules[name]


class Body:
    """An answer's body that knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield b"hello"

    def close(self) -> None:
        self.closed = True


def test_wsgi(entry: ModuleType) -> None:
    body, started = Body(), []

    def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Body:
        write = start_response("200 OK", [("Content-Type", "text/plain"), ("x-slipway-release", "forged")])
        assert write == "write"
        return body

    def start_response(status: str, headers: list[tuple[str, str]], *error: Any) -> str:
        started.append((status, headers, error))
        return "write"

    found = entry.Wsgi(application)({}, start_response)
    assert found is body, "the server must get the very iterable: it may send it faster, and must close it"
    assert started == [("200 OK", [("Content-Type", "text/plain"), *OURS], ())]


def test_wsgi_error_in_the_middle(entry: ModuleType) -> None:
    started = []

    def application(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        start_response("500 Oh", [], ("type", "value", "traceback"))
        return [b""]

    entry.Wsgi(application)({}, lambda *given: started.append(given))
    assert started == [("200 OK", OURS), ("500 Oh", OURS, ("type", "value", "traceback"))]


Send = Callable[[dict[str, Any]], Awaitable[None]]


def sent_by(entry: ModuleType, messages: list[dict[str, Any]], scope: dict[str, Any]) -> list[dict[str, Any]]:
    """What reaches the server when an application sends these messages."""
    sent: list[dict[str, Any]] = []
    seen: dict[str, Any] = {}

    async def application(scope: dict[str, Any], receive: Any, send: Send) -> None:
        seen.update(scope=scope, receive=receive)
        for message in messages:
            await send(message)

    async def receive() -> dict[str, Any]:
        return {}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(entry.Asgi(application)(scope, receive, send))
    assert seen == {"scope": scope, "receive": receive}
    return sent


def test_asgi_http(entry: ModuleType) -> None:
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": 200,
        "headers": [[b"a", b"b"], [b"X-Slipway-Slot", b"forged"]],
    }
    body = {"type": "http.response.body", "body": b"x"}
    sent = sent_by(entry, [start, body], {"type": "http"})
    assert sent == [{**start, "headers": [[b"a", b"b"], *OURS_ASGI]}, body]
    assert len(start["headers"]) == 2, "the application's own message is left alone"


@pytest.mark.parametrize("headers", [{}, {"headers": None}, {"headers": []}])
def test_asgi_websocket(entry: ModuleType, headers: dict[str, Any]) -> None:
    accept: dict[str, Any] = {"type": "websocket.accept", "subprotocol": "chat", **headers}
    rest: list[dict[str, Any]] = [{"type": "websocket.send", "text": "hi"}, {"type": "websocket.close", "code": 1000}]
    sent = sent_by(entry, [accept, *rest], {"type": "websocket"})
    assert sent == [{"type": "websocket.accept", "subprotocol": "chat", "headers": OURS_ASGI}, *rest]


def test_asgi_websocket_refused_by_an_answer(entry: ModuleType) -> None:
    start = {"type": "websocket.http.response.start", "status": 403, "headers": []}
    assert sent_by(entry, [start], {"type": "websocket"}) == [{**start, "headers": OURS_ASGI}]


def test_asgi_lifespan_passes_through(entry: ModuleType) -> None:
    messages = [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.failed", "message": "no"}]
    assert sent_by(entry, messages, {"type": "lifespan"}) == messages


def test_what_an_application_raises_reaches_the_server(entry: ModuleType) -> None:
    async def application(*_: Any) -> None:
        raise ValueError("lifespan is not for me")

    with pytest.raises(ValueError, match="not for me"):
        asyncio.run(entry.Asgi(application)({"type": "lifespan"}, None, None))


def test_the_named_application_is_loaded_when_it_is_asked_for(
    entry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_app.py").write_text("class deep:\n    application = 'the application'\n")
    monkeypatch.setenv("SLIPWAY_APPLICATION", "shop_app:deep.application")
    assert "shop_app" not in sys.modules
    assert entry.wsgi.application == "the application"
    assert entry.wsgi is entry.wsgi
    assert entry.asgi.application == "the application"
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _application = entry.other


@pytest.mark.parametrize("name", ["", "shop", "shop:", ":application"])
def test_a_name_that_is_none(entry: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SLIPWAY_APPLICATION", name)
    with pytest.raises(RuntimeError, match=r"expected package\.module:attribute"):
        _application = entry.wsgi


def test_a_broken_application_breaks_the_start(
    entry: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_app.py").write_text("raise RuntimeError('does not boot')")
    monkeypatch.setenv("SLIPWAY_APPLICATION", "broken_app:application")
    with pytest.raises(RuntimeError, match="does not boot"):
        _application = entry.asgi
    assert "broken_app.py" in capsys.readouterr().err


def test_every_entry_point_compiles_for_the_oldest_python() -> None:
    import ast

    for path in FILES.glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 9))
