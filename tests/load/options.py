# SPDX-License-Identifier: GPL-3.0-or-later
"""What to load, how much of it and for how long; and the bounds that nobody can lift."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

LONGEST_SECONDS = 3600.0
MOST_REQUESTS = 1_000_000
MOST_CLIENTS = 500
HIGHEST_RATE = 2000.0
# Load goes to our own test hosts and nowhere else.
NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)


class OptionsError(Exception):
    """Options that cannot be meant, or must not be obeyed."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """The share of each kind of request, in any unit."""

    page: int = 40
    asset: int = 25
    note: int = 17
    slow: int = 10
    upload: int = 8

    def weights(self) -> dict[str, int]:
        """By kind."""
        return {"page": self.page, "asset": self.asset, "note": self.note, "slow": self.slow, "upload": self.upload}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the requests go: the name that they carry, and the address that is connected to."""

    scheme: str
    name: str
    port: int
    addresses: tuple[str, ...]

    @property
    def base(self) -> str:
        """The address of the site, without a trailing slash."""
        default = {"http": 80, "https": 443}[self.scheme]
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{self.scheme}://{name}" + ("" if self.port == default else f":{self.port}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything that a run of the generator is told. Times are in seconds, the rate in requests a second."""

    url: str
    host: str = ""
    ca: Path | None = None
    insecure: bool = False
    clients: int = 40
    websockets: int = 0
    # One slow request in ten, of about a second: 50/s keep 5 threads of the application busy with waiting alone.
    rate: float = 50.0
    seconds: float | None = None
    until_file: Path | None = None
    ready_file: Path | None = None
    timeout: float = 30.0
    max_seconds: float = 900.0
    max_requests: int = 100_000
    slow_seconds: tuple[float, float] = (0.5, 2.0)
    upload_bytes: tuple[int, int] = (1_000, 50_000)
    mix: Mix = field(default_factory=Mix)
    page_path: str = "/"
    notes_path: str = "/notes"
    slow_path: str = "/slow"
    socket_path: str = "/ws/echo"
    # Then a visitor leaves by himself, and comes again.
    socket_echoes: int = 50
    verify_posts: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        for name, value, most in (
            ("clients", self.clients, MOST_CLIENTS),
            ("rate", self.rate, HIGHEST_RATE),
            ("timeout", self.timeout, LONGEST_SECONDS),
            ("max_seconds", self.max_seconds, LONGEST_SECONDS),
            ("max_requests", self.max_requests, MOST_REQUESTS),
            ("socket_echoes", self.socket_echoes, MOST_REQUESTS),
        ):
            if not 0 < value <= most:
                raise OptionsError(f"{name} is {value}, expected more than 0 and at most {most:g}.")
        if not 0 <= self.websockets <= MOST_CLIENTS:
            raise OptionsError(f"websockets is {self.websockets}, expected 0 to {MOST_CLIENTS}.")
        if self.seconds is not None and self.seconds <= 0:
            raise OptionsError(f"seconds is {self.seconds}, expected more than 0.")
        if self.mix.page <= 0 or min(self.mix.weights().values()) < 0:
            raise OptionsError("mix: pages must have a share, for all else follows from them; no share is negative.")

    def target(self) -> Target:
        """Look the target up, and refuse one that is not on this machine or in a private network."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise OptionsError(f"url is {self.url!r}, expected http(s)://ADDRESS[:PORT].")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        try:
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise OptionsError(f"{parts.hostname} has no address: {error}") from error
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            if not any(ipaddress.ip_address(address) in network for network in NETWORKS):
                raise OptionsError(f"{address} is neither loopback nor private: load goes to test hosts only.")
        return Target(scheme=parts.scheme, name=self.host or parts.hostname, port=port, addresses=addresses)

    def tls(self) -> ssl.SSLContext:
        """How certificates are judged."""
        context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
