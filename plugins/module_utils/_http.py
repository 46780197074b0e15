# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request over a Unix socket, TCP or TLS, that is over in time whatever the server does."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._health import Answer

_LONGEST_BODY = 64 * 1024


@dataclass(frozen=True)
class Target:
    """Where to ask: ``socket`` (a path) or ``host`` and ``port``; ``name`` is the server's name for TLS and Host."""

    path: str
    name: str
    socket: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.path} at {self.socket or f'{self.name} ({self.host}:{self.port})'}"


def target_of(*, url: str = "", path: str = "", socket_path: str = "", host: str = "", resolve: str = "") -> Target:
    """The target that a module's options mean. ``resolve`` is connected to instead of what DNS says."""
    if socket_path:
        return Target(path=path or "/", name=host or "localhost", socket=socket_path)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise SlipwayError(
            "That is not a URL that can be asked", found=url, expected="http://host/path or https://host/path"
        )
    tls = parts.scheme == "https"
    query = f"?{parts.query}" if parts.query else ""
    usual = port is None or port == (443 if tls else 80)
    return Target(
        path=path or (parts.path or "/") + query,
        name=host or (parts.hostname if usual else f"{parts.hostname}:{port}"),
        host=resolve or parts.hostname,
        port=port or (443 if tls else 80),
        tls=tls,
    )


def context_of(target: Target, *, ca_path: str = "", validate_certs: bool = True) -> ssl.SSLContext | None:
    """How TLS is spoken with the target: None when it is not."""
    if not target.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=ca_path or None)
    except OSError as error:
        raise SlipwayError(f"The certificates in {ca_path} cannot be read", found=str(error)) from error
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Connection(http.client.HTTPConnection):
    """A connection whose socket is made by us. ``wire`` is that socket; ``sock`` is gone once an answer has begun."""

    def __init__(self, target: Target, *, timeout: float) -> None:
        super().__init__(target.name.rsplit(":", 1)[0], timeout=timeout)
        self._target = target
        self.wire: socket.socket | None = None

    def connect(self) -> None:
        target = self._target
        if target.socket:
            self.wire = self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            self.sock.connect(target.socket)
            return
        self.wire = self.sock = socket.create_connection((target.host, target.port), self.timeout)

    def secure(self, context: ssl.SSLContext) -> None:
        # ssl bounds the whole handshake, not each of its reads, by the socket's timeout.
        self.wire = self.sock = context.wrap_socket(self.sock, server_hostname=self._target.name.rsplit(":", 1)[0])


class _Deadline:
    """Cuts a connection off when its time is over: a server that sends a byte now and then cannot hold us."""

    def __init__(self, connection: _Connection, seconds: float) -> None:
        self._connection = connection
        self.over = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def _cut(self) -> None:
        self.over = True
        with contextlib.suppress(OSError):
            if self._connection.wire is not None:
                self._connection.wire.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


@dataclass(frozen=True)
class HttpAsker:
    """Asks a target. Of an answer's body at most ``longest`` bytes are read."""

    target: Target
    headers: Mapping[str, str] = field(default_factory=dict)
    context: ssl.SSLContext | None = None
    method: str = "GET"
    body: bytes = b""
    longest: int = _LONGEST_BODY

    def ask(self, *, timeout: float) -> Answer:
        late = f"no complete answer within {timeout:.1f} s"
        connection = _Connection(self.target, timeout=timeout)
        try:
            begin = time.monotonic()
            connection.connect()
            left = max(0.001, timeout - (time.monotonic() - begin))
            with _Deadline(connection, left) as deadline:
                try:
                    answer = self._talk(connection)
                    # What was cut off can look whole: http.client takes an end in the middle of the headers for theirs.
                    return Answer(error=late) if deadline.over else answer
                # ValueError: what ssl says of a socket that was cut off.
                except (OSError, ValueError, http.client.HTTPException) as error:
                    return Answer(error=late if deadline.over or isinstance(error, socket.timeout) else _reason(error))
        except socket.timeout:
            return Answer(error=late)
        # UnicodeError: what a name that can be in no DNS ends with.
        except (socket.gaierror, UnicodeError) as error:
            why = getattr(error, "strerror", "") or getattr(error, "reason", "") or error
            return Answer(error=f"the name {self.target.host} cannot be resolved ({why})")
        except OSError as error:
            return Answer(error=_reason(error))
        finally:
            connection.close()

    def _talk(self, connection: _Connection) -> Answer:
        if self.context is not None:
            connection.secure(self.context)
        # As Nginx says it: else an application that insists on HTTPS answers with a redirect.
        own = {
            "Host": self.target.name,
            "X-Forwarded-Proto": "https",
            "User-Agent": "slipway-health",
            "Connection": "close",
        }
        given = {name.lower() for name in self.headers}
        headers = {**{name: value for name, value in own.items() if name.lower() not in given}, **self.headers}
        connection.request(self.method, self.target.path, body=self.body or None, headers=headers)
        response = connection.getresponse()
        body = response.read(self.longest)
        if response.length and len(body) < self.longest:
            return Answer(error=f"the answer ended {response.length} bytes early")
        if not body and response.length is None and not response.chunked and response.status not in (204, 304):
            return Answer(error="the answer ended before its body began")
        return self._answer(response, body.decode("utf-8", "replace"))

    @staticmethod
    def _answer(response: http.client.HTTPResponse, body: str) -> Answer:
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=body)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the socket does not exist"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate cannot be trusted: {error.verify_message}"
    return f"{type(error).__name__}: {getattr(error, 'strerror', '') or error}"
