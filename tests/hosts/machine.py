# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test host must be told so that it reaches packages as this machine does.

Everything is read from the machine's own configuration at run time: where it uses a mirror, a proxy, an index or a
certificate authority of its own, the hosts do too; where it uses none, the distributions' defaults hold.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.packages import update_package_lists

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")

# Settings that say how to reach a mirror; the rest of `Acquire` is about what to fetch and stays the host's business.
_APT_REACH = re.compile(
    r'^Acquire::(?:(?:http|https)::|Check-|Retries|ForceIPv|Allow\w*Insecure|AllowWeak|AllowDowngrade).* "(?!")'
)
_PIP_LISTS = ("extra-index-url", "trusted-host")
_PIP_SINGLES = ("index-url", "proxy", "timeout", "retries")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Repository:
    """One package repository that the machine's apt knows."""

    origin: str
    label: str
    url: str
    release: str


@dataclass(frozen=True)
class Settings:
    """Files to lay over a host's file system, by absolute path, and the mirror to bootstrap from."""

    files: Mapping[str, str]
    mirror: str | None


def _output(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def repositories() -> tuple[Repository, ...]:
    """Return the repositories of the machine's apt."""
    found = _repositories()
    if any(r.origin for r in found):
        return found
    # Origins are known only after an update, and a fresh machine may have had none.
    update_package_lists()
    return _repositories()


def _repositories() -> tuple[Repository, ...]:
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(RELEASE)"
    lines = _output(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines()
    return tuple(Repository(*line.split("|")) for line in lines if line.count("|") == 3)


def sources(*, known: Sequence[Repository], origin: str, suite: str, components: str) -> tuple[str | None, str]:
    """Return the mirror of a distribution and the lines for what it publishes besides the release itself."""
    own = [r for r in known if r.origin == origin]
    main = next((r.url for r in own if r.label == origin and not r.release.endswith("-security")), None)
    security = next((r.url for r in own if r.release.endswith("-security")), None)
    lines = [f"deb {main} {suite}-updates {components}\n"] if main else []
    if security:
        lines.append(f"deb {security} {suite}-security {components}\n")
    return main, "".join(lines)


def apt_reach(dump: str) -> str:
    """Return those settings of an `apt-config dump` that say how to reach a mirror."""
    return "".join(f"{line}\n" for line in dump.splitlines() if _APT_REACH.match(line))


def pip_settings(listing: str) -> dict[str, list[str]]:
    """Read `pip config list`: the environment wins over files, later files over earlier ones."""
    found: dict[str, list[str]] = {}
    from_environment: dict[str, list[str]] = {}
    for line in listing.splitlines():
        key, _equals, value = line.partition("=")
        scope, _dot, name = key.rpartition(".")
        name = "timeout" if name == "default-timeout" else name
        target = from_environment if scope == ":env:" else found
        target[name] = value.strip().strip("'\"").replace("\\n", " ").split()
    return found | from_environment


def _remote(values: Sequence[str]) -> list[str]:
    return [v for v in values if not v.startswith(("file:", "/", "."))]


def pip_conf(settings: Mapping[str, Sequence[str]], *, authorities: bool) -> str:
    """Render pip.conf for a host; what exists on this machine only (local paths) is left out."""
    lines = []
    for name in (*_PIP_SINGLES, *_PIP_LISTS):
        values = _remote(settings.get(name, ()))
        if values:
            lines.append(f"{name} = {' '.join(values)}")
    if authorities or settings.get("cert"):
        lines.append(f"cert = {BUNDLE}")
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def uv_toml(settings: Mapping[str, Sequence[str]], *, environment: Mapping[str, str], authorities: bool) -> str:
    """Render uv.toml for a host from uv's own variables or else from what pip is told."""
    default = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL")
    index = _remote([default] if default else settings.get("index-url", ()))
    extra = _remote(environment.get("UV_EXTRA_INDEX_URL", "").split() or settings.get("extra-index-url", ()))
    hosts = [*settings.get("trusted-host", ())]
    lines = ["system-certs = true"] if authorities else []
    lines += [f'index-url = "{index[0]}"'] if index else []
    lines += [f"extra-index-url = {_toml(extra)}"] if extra else []
    lines += [f"allow-insecure-host = {_toml(hosts)}"] if hosts else []
    return "\n".join([*lines, ""]) if lines else ""


def _toml(values: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{v}"' for v in values) + "]"


def _authorities() -> dict[str, str]:
    found = sorted(LOCAL_AUTHORITIES.rglob("*.crt")) if LOCAL_AUTHORITIES.is_dir() else []
    return {str(path): path.read_text() for path in found}


def settings(*, origin: str, suite: str, components: str, environment: Mapping[str, str] | None = None) -> Settings:
    """Collect what a host of this distribution must be told."""
    environment = os.environ if environment is None else environment
    mirror, extra_sources = sources(known=repositories(), origin=origin, suite=suite, components=components)
    authorities = _authorities()
    pip = pip_settings(_output([sys.executable, "-m", "pip", "config", "list"]))
    proxies = {name: environment[name] for name in _PROXIES if environment.get(name)}
    reach = apt_reach(_output(["apt-config", "dump"]))
    for scheme in ("http", "https"):
        proxy = proxies.get(f"{scheme}_proxy")
        if proxy and f"Acquire::{scheme}::Proxy" not in reach:
            reach += f'Acquire::{scheme}::Proxy "{proxy}";\n'
    files = {
        **authorities,
        "/etc/apt/sources.list.d/updates.list": extra_sources,
        "/etc/apt/apt.conf.d/82machine": reach,
        "/etc/pip.conf": pip_conf(pip, authorities=bool(authorities)),
        "/etc/uv/uv.toml": uv_toml(pip, environment=environment, authorities=bool(authorities)),
        "/etc/environment": "".join(f'{name}="{value}"\n' for name, value in proxies.items()),
    }
    return Settings(files={path: text for path, text in files.items() if text}, mirror=mirror)
