# SPDX-License-Identifier: GPL-3.0-or-later
"""One request, over in time, against real servers that misbehave."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._http import HttpAsker, Target, context_of, target_of
from tests.unit.health.servers import answer, serving

TIMEOUT = 0.4
# A busy machine may be late; a request that hangs is much later.
SLACK = 3.0


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """A short path (sun_path holds 108 bytes)."""
    here = Path.cwd()
    os.chdir(tmp_path)
    yield "web.sock"
    os.chdir(here)


def ask(path: str, **options: object) -> tuple[str, int, str]:
    begin = time.monotonic()
    found = HttpAsker(target_of(socket_path=path, path="/health", host="shop.example"), **options).ask(timeout=TIMEOUT)  # type: ignore[arg-type]
    assert time.monotonic() - begin < TIMEOUT + SLACK
    return found.error, found.status, found.body


def test_a_good_answer(path: str) -> None:
    reply = answer("fine", headers=["X-Slipway-Release: r1"])
    with serving(path, reply) as server:
        asker = HttpAsker(target_of(socket_path=path, path="/health?a=1", host="shop.example"), headers={"X-A": "b"})
        found = asker.ask(timeout=TIMEOUT)
    assert (found.status, found.body, found.release, found.error) == (200, "fine", "r1", "")
    request = server.requests[0].decode()
    assert request.startswith("GET /health?a=1 HTTP/1.1\r\n")
    assert request.count("Host: ") == 1
    for line in ("Host: shop.example", "X-Forwarded-Proto: https", "Connection: close", "X-A: b"):
        assert f"{line}\r\n" in request


def test_chunks(path: str) -> None:
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n"
    with serving(path, reply):
        assert ask(path) == ("", 200, "fine")


def test_no_redirect_is_followed(path: str) -> None:
    reply = answer("", status="301 Moved Permanently", headers=["Location: https://elsewhere/"])
    with serving(path, reply) as server:
        assert ask(path) == ("", 301, "")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("slam", "RemoteDisconnected|BrokenPipe|ConnectionReset"),
        ("silent", "no complete answer within 0.4 s"),
        ("dribble", "no complete answer within 0.4 s"),
        (b"", "RemoteDisconnected|ConnectionReset"),
        (b"HTTP/1.1 200 OK\r\nX-Slipway-Rel", "the answer ended before its body began"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "BadStatusLine"),
        (b"\x16\x03\x01\x00\xff\xfe\n\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the answer ended 95 bytes early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfi", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000, "HTTPException"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000, "LineTooLong"),
    ],
)
def test_misbehaviour_is_an_answer_with_a_reason(path: str, reply: bytes | str, error: str) -> None:
    with serving(path, reply):
        found, status, _body = ask(path)
    assert re.search(error, found)
    assert status == 0


def test_of_an_endless_body_only_the_beginning_is_read(path: str) -> None:
    with serving(path, "endless"):
        error, status, body = ask(path)
    assert (error, status) == ("", 200)
    assert len(body) == 64 * 1024


def test_of_a_large_body_only_the_beginning_is_read(path: str) -> None:
    with serving(path, answer("z" * 200_000)):
        error, status, body = ask(path)
    assert (error, status, len(body)) == ("", 200, 64 * 1024)


def test_nobody_there(path: str) -> None:
    assert ask(path)[0] == "the socket does not exist"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    assert ask(path)[0] == "nobody listens there (connection refused)"


def test_somebody_who_never_accepts(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            # The queue is full now (listen(0) holds one), so the next one is refused for the moment.
            error = ask(path)[0]
    assert error


@pytest.mark.parametrize("name", ["shop.invalid", "shop..example", f"{'x' * 64}.example"])
def test_a_name_that_cannot_be_resolved_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(host: str, *_rest: object, **_more: object) -> list[object]:
        host.encode("idna")  # as the real one does
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    found = HttpAsker(target_of(url=f"https://{name}/health")).ask(timeout=TIMEOUT)
    assert re.fullmatch(rf"the name {name} cannot be resolved \(.+\)", found.error)


def test_the_name_is_that_which_was_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_rest: object, **_more: object) -> list[object]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    target = target_of(url="https://shop.example/health", resolve="edge1.internal")
    assert HttpAsker(target).ask(timeout=TIMEOUT).error == (
        "the name edge1.internal cannot be resolved (Temporary failure in name resolution)"
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h/x?y=1", Target(path="/x?y=1", name="h", host="h", port=80)),
        ("https://h", Target(path="/", name="h", host="h", port=443, tls=True)),
        ("https://h:8443/", Target(path="/", name="h:8443", host="h", port=8443, tls=True)),
        ("https://h:443/", Target(path="/", name="h", host="h", port=443, tls=True)),
    ],
)
def test_urls(url: str, expected: Target) -> None:
    assert target_of(url=url) == expected


def test_what_is_connected_to_and_what_is_asked_for_may_differ() -> None:
    target = target_of(url="https://shop.example/health", resolve="192.0.2.10", host="other.example", path="/x")
    assert (target.host, target.name, target.path, target.tls) == ("192.0.2.10", "other.example", "/x", True)
    assert str(target) == "/x at other.example (192.0.2.10:443)"


@pytest.mark.parametrize(
    "url", ["", "h/x", "ftp://h/", "http://", "http://user:pw@h/", "http://h:99999/", "http://h:x/"]
)
def test_urls_that_cannot_be_asked(url: str) -> None:
    with pytest.raises(SlipwayError, match="not a URL"):
        target_of(url=url)


# TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for shop.example, with its key."""
    x509 = pytest.importorskip("cryptography.x509")
    import datetime

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path_factory.mktemp("tls") / "pair.pem"
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(key.private_bytes(*formats) + made.public_bytes(serialization.Encoding.PEM))
    return pem


@pytest.fixture
def tls_port(certificate: Path) -> Iterator[int]:
    """A TLS server on loopback that answers a few times."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        while True:
            try:
                connection, _peer = listener.accept()
                with context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(65536)
                    secured.sendall(answer("secure"))
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()


def ask_tls(
    port: int, *, name: str = "shop.example", ca_path: str = "", validate_certs: bool = True
) -> tuple[str, str]:
    target = target_of(url=f"https://{name}:{port}/", resolve="127.0.0.1")
    context = context_of(target, ca_path=ca_path, validate_certs=validate_certs)
    found = HttpAsker(target, context=context).ask(timeout=5)
    return found.error, found.body


def test_tls(tls_port: int, certificate: Path) -> None:
    assert ask_tls(tls_port, ca_path=str(certificate)) == ("", "secure")
    assert ask_tls(tls_port, validate_certs=False) == ("", "secure")
    assert "the certificate cannot be trusted" in ask_tls(tls_port)[0]
    assert "the certificate cannot be trusted" in ask_tls(tls_port, ca_path=str(certificate), name="other.example")[0]


@pytest.mark.parametrize("drips", [False, True])
def test_a_handshake_that_never_ends(drips: bool) -> None:
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection = listener.accept()[0]
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x3f\xff" if drips else b"")
            while not over.wait(0.02):
                # Each byte comes in time; the whole record never does.
                connection.sendall(b"x" if drips else b"")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        target = target_of(url=f"https://shop.example:{listener.getsockname()[1]}/", resolve="127.0.0.1")
        begin = time.monotonic()
        found = HttpAsker(target, context=context_of(target)).ask(timeout=TIMEOUT)
        assert time.monotonic() - begin < TIMEOUT + SLACK
        over.set()
        thread.join(timeout=5)
    assert found.error == "no complete answer within 0.4 s"


def test_certificates_that_cannot_be_read() -> None:
    with pytest.raises(SlipwayError, match="/nowhere cannot be read"):
        context_of(target_of(url="https://h/"), ca_path="/nowhere")
