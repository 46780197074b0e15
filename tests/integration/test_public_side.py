# SPDX-License-Identifier: GPL-3.0-or-later
"""Nginx as visitors meet it: a certificate that they trust, a limit for what they send, a page while all is closed."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.site import Answer, Site

LIMIT = 64 * 1024
SECONDS = 10


class Browser(http.client.HTTPSConnection):
    """A visitor who trusts one authority, and finds the site without DNS."""

    def __init__(self, site: Site, *, trusts: Path) -> None:
        super().__init__(site.domain, timeout=SECONDS, context=ssl.create_default_context(cafile=str(trusts)))
        self._address = site.hosts[site.edge].address
        self._trust = ssl.create_default_context(cafile=str(trusts))

    def connect(self) -> None:
        plain = socket.create_connection((self._address, 443), timeout=SECONDS)
        self.sock = self._trust.wrap_socket(plain, server_hostname=self.host)


@dataclass(frozen=True)
class Authority:
    """Signs certificates."""

    place: Path

    @property
    def certificate(self) -> Path:
        return self.place / "ca.pem"

    def found(self) -> None:
        may = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign"
        made = "-keyout ca.key -out ca.pem"
        openssl(self.place, f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=Authority {may} {made}")

    def sign(self, domain: str, *, name: str) -> dict[str, Any]:
        """A key and a certificate for the domain; the settings that give them."""
        openssl(self.place, f"req -newkey rsa:2048 -nodes -subj /CN={domain} -keyout {name}.key -out {name}.csr")
        extensions = (f"subjectAltName=DNS:{domain}", "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid")
        (self.place / "names").write_text("\n".join(extensions) + "\n")
        sign = f"x509 -req -days 2 -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names"
        openssl(self.place, f"{sign} -out {name}.pem")
        return {
            "webapp_tls": "given",
            "webapp_tls_certificate": str(self.place / f"{name}.pem"),
            "webapp_tls_key": str(self.place / f"{name}.key"),
        }


def openssl(place: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=place, check=True, capture_output=True)


@dataclass(frozen=True)
class Shop:
    """A site with a certificate of an authority."""

    site: Site
    authority: Authority

    def ask(self, path: str, *, body: bytes = b"") -> Answer:
        browser = Browser(self.site, trusts=self.authority.certificate)
        browser.request("POST" if body else "GET", path, body=body or None)
        answer = browser.getresponse()
        found = Answer(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.getheaders()},
            body=answer.read().decode(errors="replace"),
        )
        browser.close()
        return found

    def fingerprint(self) -> str:
        """That of the certificate that is served."""
        browser = Browser(self.site, trusts=self.authority.certificate)
        browser.connect()
        found = hashlib.sha256(browser.sock.getpeercert(binary_form=True) or b"").hexdigest()
        browser.close()
        return found


@pytest.fixture(scope="module")
def shop(staging_site: MakeSite, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """It is provisioned and deployed."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.found()
    given = authority.sign("visible.board.example", name="first")
    site = staging_site("visible", webapp_max_body_size="64k", **given)
    site.play("provision").ended(0)
    # The smoke test trusts what the controller trusts.
    trusting = dataclasses.replace(site.controller, settings={"SSL_CERT_FILE": str(authority.certificate)})
    site.deploy(site.sources.tree(), controller=trusting)
    return Shop(site, authority)


def test_a_given_certificate_is_trusted_and_replaced(shop: Shop, tell: Callable[[str], None]) -> None:
    assert shop.ask("/health").status == 200
    first = shop.fingerprint()
    key, certificate = (
        shop.site.host.sh(f"grep -rl {word} /etc/visible/tls /etc/nginx || true") for word in ("PRIVATE", "CERTIFICATE")
    )
    assert key.split() == certificate.split(), "key and certificate are one file"
    assert shop.site.host.sh(f"stat -c '%a %U' {key}").split("\n")[0] == "600 root"
    second = shop.authority.sign(shop.site.domain, name="second")
    shop.site.play("provision", **second).ended(0)
    assert shop.fingerprint() != first
    assert shop.ask("/health").status == 200
    assert shop.site.play("provision", **second).ended(0).changed == 0
    tell("a client with its own authority connected to both")


def test_a_key_of_another_certificate_is_refused(shop: Shop, tell: Callable[[str], None]) -> None:
    before = shop.fingerprint()
    mixed = shop.authority.sign(shop.site.domain, name="third")
    shutil.copy(shop.authority.place / "first.key", shop.authority.place / "third.key")
    run = shop.site.play("provision", **mixed)
    assert run.code != 0, run.output[-4000:]
    assert shop.fingerprint() == before
    assert shop.ask("/health").status == 200
    shop.site.host.sh("nginx -t")
    tell(f"refused in {run.seconds:.0f} s; the old pair is served on")


def test_what_is_too_large_is_refused_before_the_application(shop: Shop, tell: Callable[[str], None]) -> None:
    large = shop.ask("/notes", body=b"x" * (LIMIT + 1))
    assert large.status == 413, large
    small = shop.ask("/notes", body=b"x" * LIMIT)
    assert small.status not in (413, 500, 502, 503), small
    tell(f"{LIMIT + 1} bytes: 413; {LIMIT} bytes: {small.status}, by the application")


def test_the_maintenance_page(shop: Shop, tell: Callable[[str], None]) -> None:
    switch = f"/srv/{shop.site.app}/maintenance"
    shop.site.host.sh(f"touch {switch}")
    closed = shop.ask("/")
    shop.site.host.sh(f"rm {switch}")
    assert closed.status == 503
    assert closed.headers["retry-after"]
    assert closed.headers["cache-control"] == "no-store"
    assert closed.headers["x-content-type-options"] == "nosniff"
    assert shop.ask("/").status == 200
    tell(f"503 with Retry-After {closed.headers['retry-after']}, and back at once")
