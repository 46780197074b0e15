# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private authority and the server certificate it signs, for hosts that no public authority vouches for.

``ca.key`` and ``ca.pem`` are the authority. ``server.pem`` holds the server's key, its certificate and the authority's
certificate in one file, because one rename must replace a key and its certificate together.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_text, write_atomically
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Runner

DAY = 86400
CA_DAYS = 3650

_CONFIGURATION = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = {common_name}
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


@dataclass(frozen=True)
class Wish:
    """A server certificate for ``names``, good for ``days``, replaced ``renew_days`` before its end."""

    directory: str
    names: tuple[str, ...]
    days: int
    renew_days: int

    @property
    def ca_key(self) -> str:
        return os.path.join(self.directory, "ca.key")

    @property
    def ca(self) -> str:
        return os.path.join(self.directory, "ca.pem")

    @property
    def server(self) -> str:
        return os.path.join(self.directory, "server.pem")


@dataclass(frozen=True)
class Found:
    """``authority``: it is whole and lasts; ``names``: of the server's certificate, when it is good and lasts."""

    authority: bool
    names: tuple[str, ...]


def alternative(name: str) -> str:
    """A host name or an address as OpenSSL wants it in subjectAltName."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def names_of(text: str) -> tuple[str, ...]:
    """The names in what ``openssl x509 -ext subjectAltName`` prints."""
    listed = [part.strip() for line in text.splitlines()[1:] for part in line.split(",")]
    return tuple(part.partition(":")[2] for part in listed if part.startswith(("DNS:", "IP Address:")))


def _key_matches(runner: Runner, *, certificate: str, key: str) -> bool:
    public = runner.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"])
    private = runner.run(["openssl", "pkey", "-in", key, "-pubout"])
    return public.ok and private.ok and public.stdout.strip() == private.stdout.strip()


def _lasts(runner: Runner, *, certificate: str, days: int) -> bool:
    return runner.run(["openssl", "x509", "-in", certificate, "-noout", "-checkend", str(days * DAY)]).ok


def probe(runner: Runner, *, wish: Wish) -> Found:
    """What is there and still good. A key that does not fit, or a certificate of another authority, is not good."""
    ca_there = os.path.exists(wish.ca) and os.path.exists(wish.ca_key)
    authority = (
        ca_there
        and _lasts(runner, certificate=wish.ca, days=wish.days)
        and _key_matches(runner, certificate=wish.ca, key=wish.ca_key)
    )
    if not authority or not os.path.exists(wish.server):
        return Found(authority=authority, names=())
    good = (
        _lasts(runner, certificate=wish.server, days=wish.renew_days)
        and _key_matches(runner, certificate=wish.server, key=wish.server)
        and runner.run(["openssl", "verify", "-CAfile", wish.ca, wish.server]).ok
    )
    listed = runner.run(["openssl", "x509", "-in", wish.server, "-noout", "-ext", "subjectAltName"])
    return Found(authority=True, names=names_of(listed.stdout) if good else ())


def plan(*, wish: Wish, found: Found) -> tuple[Step, ...]:
    """A new authority needs a new server certificate; other names need one too."""
    steps = []
    if not found.authority:
        steps.append(Step("authority", f"make a private authority in {wish.ca}"))
    if not found.authority or set(found.names) != set(wish.names):
        steps.append(Step("server", f"issue a certificate for {', '.join(wish.names)} in {wish.server}"))
    return tuple(steps)


def apply(step: Step, *, runner: Runner, wish: Wish) -> None:
    """Make the files in a scratch directory that only root can enter, then rename them into place."""
    scratch = tempfile.mkdtemp(prefix=".making-", dir=wish.directory)
    try:
        if step.name == "authority":
            _make_authority(runner, wish=wish, scratch=scratch)
        else:
            _issue(runner, wish=wish, scratch=scratch)
    finally:
        shutil.rmtree(scratch)


def _make_authority(runner: Runner, *, wish: Wish, scratch: str) -> None:
    configuration = _configure(wish, scratch, common_name=f"slipway private authority {os.urandom(4).hex()}")
    key, certificate = os.path.join(scratch, "key"), os.path.join(scratch, "certificate")
    _make_key(runner, key)
    request = ["openssl", "req", "-x509", "-new", "-config", configuration, "-extensions", "authority"]
    _need(runner, [*request, "-sha256", "-days", str(CA_DAYS), "-key", key, "-out", certificate])
    # The key goes first: an authority without its key is found broken and made again, never used.
    write_atomically(wish.ca_key, _read(key), mode=0o600, uid=0, gid=0)
    write_atomically(wish.ca, _read(certificate), mode=0o644, uid=0, gid=0)


def _issue(runner: Runner, *, wish: Wish, scratch: str) -> None:
    configuration = _configure(wish, scratch, common_name=wish.names[0][:64])
    key, request, certificate = (os.path.join(scratch, name) for name in ("key", "request", "certificate"))
    _make_key(runner, key)
    _need(runner, ["openssl", "req", "-new", "-config", configuration, "-key", key, "-out", request])
    sign = ["openssl", "x509", "-req", "-in", request, "-CA", wish.ca, "-CAkey", wish.ca_key, "-sha256"]
    serial = f"0x{os.urandom(16).hex()}"
    extensions = ["-extfile", configuration, "-extensions", "server"]
    _need(runner, [*sign, "-set_serial", serial, *extensions, "-days", str(wish.days), "-out", certificate])
    bundle = _read(key) + _read(certificate) + _read(wish.ca)
    write_atomically(wish.server, bundle, mode=0o600, uid=0, gid=0)


def _configure(wish: Wish, scratch: str, *, common_name: str) -> str:
    path = os.path.join(scratch, "configuration")
    names = ", ".join(alternative(name) for name in wish.names)
    write_atomically(path, _CONFIGURATION.format(common_name=common_name, names=names).encode())
    return path


def _make_key(runner: Runner, path: str) -> None:
    _need(runner, ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path])


def _read(path: str) -> bytes:
    return (read_text(path) or "").encode()


def _need(runner: Runner, command: Sequence[str]) -> None:
    answer = runner.run(command)
    if not answer.ok:
        raise SlipwayError(f"{' '.join(command[:2])} failed", found=answer.stderr.strip())
