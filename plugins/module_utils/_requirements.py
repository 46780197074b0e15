# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The locked requirements of a source tree: which lock counts, what identifies its environment, how it is installed.

Formats: https://pip.pypa.io/en/stable/reference/requirements-file-format/ and https://docs.astral.sh/uv/concepts/projects/
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._mask import without_password

UV, PIP = "uv", "pip"
UV_LOCK, REQUIREMENTS = "uv.lock", "requirements.txt"
OLDEST_PYTHON = (3, 9)

# What a file can begin with to say how it is encoded. pip reads all of these, and takes the rest for UTF-8 as uv does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# How to make a lock out of what is there, by the file that is there.
_ADVICE = {
    "poetry.lock": "`poetry export --output requirements.txt`",
    "Pipfile.lock": "`pipenv requirements --hash > requirements.txt`",
    "pdm.lock": "`pdm export --output requirements.txt`",
    "requirements.in": "`uv pip compile --generate-hashes requirements.in --output-file requirements.txt`",
    "pyproject.toml": "`uv lock`, or `uv pip compile --generate-hashes pyproject.toml --output-file requirements.txt`",
}

# Settings of the installers that say how to reach an index, not what comes from it.
_NO_MATTER = re.compile(
    r"CACHE|CERT|TLS|TIMEOUT|RETRIES|PROXY|PROGRESS|QUIET|VERBOSE|CONCURRENT|KEYRING|HOST|LINK_MODE"
)
_MATTER = re.compile(r"(PIP|UV)_.*|C(PP|XX)?FLAGS|LDFLAGS|CC|CXX")


@dataclass(frozen=True)
class Interpreter:
    """The Python that environments are made with: its path, (major, minor) and the machine it is built for."""

    path: str
    version: tuple[int, int]
    machine: str

    @property
    def name(self) -> str:
        return f"{self.version[0]}.{self.version[1]}"


@dataclass(frozen=True)
class Lock:
    """Locked requirements: ``kind`` is the file that leads them, ``digest`` covers all files that belong to them."""

    kind: str
    digest: str
    files: tuple[str, ...]
    hashed: bool


@dataclass(frozen=True)
class Command:
    """One command of an installation."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def read_interpreter(path: str, answer: str) -> Interpreter:
    """What ``PROBE`` printed, as an interpreter that is new enough."""
    try:
        major, minor, machine = answer.split()
        version = (int(major), int(minor))
    except ValueError:
        raise SlipwayError(
            f"{path} is not a Python", found=answer.strip() or "no answer", expected="Python 3.9 or newer"
        ) from None
    if version < OLDEST_PYTHON:
        raise SlipwayError(
            f"{path} is too old",
            found=f"Python {major}.{minor}",
            expected="Python 3.9 or newer",
            next_step="set webapp_python",
        )
    return Interpreter(path=path, version=version, machine=machine)


PROBE = "import platform, sys; print(*sys.version_info[:2], platform.machine())"


def find_lock(root: str) -> Lock:
    """The lock of the tree at ``root``; a tree without one is refused, since its release could not be repeated."""
    if os.path.isfile(os.path.join(root, UV_LOCK)) and os.path.isfile(os.path.join(root, "pyproject.toml")):
        return _uv_lock(root)
    if os.path.isfile(os.path.join(root, REQUIREMENTS)):
        return _requirements(root)
    there = [name for name in _ADVICE if os.path.isfile(os.path.join(root, name))]
    advice = f"make one with {_ADVICE[there[0]]} and commit it" if there else "add one, even if it is empty"
    raise SlipwayError(
        "The source has no locked requirements, so this release could not be repeated",
        found=", ".join(there) or "neither uv.lock nor requirements.txt beside manage.py",
        expected="uv.lock with pyproject.toml, or requirements.txt",
        next_step=advice,
    )


def _digest(root: str, names: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in names:
        with open(os.path.join(root, name), "rb") as stream:
            content = stream.read()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _text(root: str, name: str) -> str:
    with open(os.path.join(root, name), "rb") as stream:
        data = stream.read()
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SlipwayError(
            f"{name} cannot be read",
            found=f"what is no {encoding.upper()} in line {data.count(10, 0, error.start) + 1}",
            expected="a text in UTF-8, or in UTF-16 with a byte order mark",
            next_step=f"save {name} in UTF-8 and commit it",
        ) from error


def _uv_lock(root: str) -> Lock:
    names = tuple(name for name in (UV_LOCK, "pyproject.toml", "uv.toml") if os.path.isfile(os.path.join(root, name)))
    local = re.search(r'^source = \{ (?:editable|directory) = "(?!\.")([^"]*)"', _text(root, UV_LOCK), re.MULTILINE)
    if local:
        raise _local(UV_LOCK, local.group(1))
    return Lock(kind=UV_LOCK, digest=_digest(root, names), files=names, hashed=True)


def _local(name: str, what: str) -> SlipwayError:
    return SlipwayError(
        f"{name} installs {what} from the source tree into an environment that several releases share",
        expected="the tree's own packages imported from where manage.py is, all others from an index or an archive",
        next_step=f"remove it from {name}",
    )


def _requirements(root: str) -> Lock:
    names: list[str] = []
    lines = list(_lines(root, REQUIREMENTS, names))
    hashed = any("--hash" in line for line in lines)
    return Lock(kind=REQUIREMENTS, digest=_digest(root, tuple(names)), files=tuple(names), hashed=hashed)


def _lines(root: str, name: str, seen: list[str]) -> Iterator[str]:
    """Every requirement of a file and of the files it includes; ``seen`` collects what belongs to the lock."""
    if name in seen:
        return
    seen.append(name)
    for raw in re.sub(r"\\\r?\n", " ", _text(root, name)).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        include = re.fullmatch(r"(?:-r|-c|--requirement|--constraint)(?:\s*=\s*|\s*)(\S+)", line)
        if include:
            yield from _lines(root, _inside(root, name, include.group(1)), seen)
        elif line:
            _note_local(root, name, line, seen)
            yield line


def _inside(root: str, name: str, given: str) -> str:
    """The path of an included file, relative to the tree; what lies outside or is not there is refused."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), given))
    outside = "://" in given or path.startswith(("/", ".."))
    if outside or not os.path.isfile(os.path.join(root, path)):
        raise SlipwayError(
            f"{name} includes {without_password(given)}",
            found="something outside the source tree" if outside else "no such file",
            expected="a file of the source tree",
            next_step=f"correct {name}",
        )
    return path


def _note_local(root: str, name: str, line: str, seen: list[str]) -> None:
    """An archive of the tree belongs to the lock; a directory of it cannot be shared between releases."""
    editable = re.match(r"(?:-e|--editable)[\s=]+(\S+)", line)
    words = [editable.group(1)] if editable else re.sub(r"^[^@\s]+\s*@\s*", "", line).split()
    if not words:
        raise SlipwayError(
            f"{name} has a line that is no requirement",
            found=line,
            expected="an address after the @",
            next_step=f"correct {name}",
        )
    target = words[0]
    target = target[5:].lstrip("/") if target.startswith("file:.") else target
    if not target.startswith((".", "/", "file:")):
        return
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if editable or target.startswith(("/", "file:")) or not os.path.isfile(os.path.join(root, path)):
        raise _local(name, target)
    if _inside(root, name, target) not in seen:
        seen.append(path)


def lock_hash(lock: Lock, *, interpreter: Interpreter, installer: str, build_environment: Mapping[str, str]) -> str:
    """16 hex digits that name the environment of these requirements on this kind of host. Secrets do not enter."""
    settings = {
        name: without_password(value)
        for name, value in build_environment.items()
        if _MATTER.fullmatch(name) and not _NO_MATTER.search(name)
    }
    identity = {
        "lock": [lock.kind, lock.digest],
        "python": interpreter.name,
        "machine": interpreter.machine,
        "installer": installer,
        "settings": settings,
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def choose_installer(lock: Lock, *, uv: str) -> str:
    """uv where the host has it, otherwise pip; only uv reads uv.lock."""
    if os.access(uv, os.X_OK):
        return UV
    if lock.kind == UV_LOCK:
        raise SlipwayError(
            "The source is locked by uv.lock, and this host has no uv",
            found=f"nothing at {uv}",
            next_step="run provision.yml for this host, or commit `uv export --output-file requirements.txt` instead",
        )
    return PIP


def install_commands(
    lock: Lock, *, installer: str, interpreter: Interpreter, venv: str, uv: str, cache: str
) -> tuple[Command, ...]:
    """The commands that make the environment ``venv``, to be run where the lock is. ``cache`` holds downloads."""
    python = os.path.join(venv, "bin", "python")
    hashes = ("--require-hashes",) if lock.hashed else ()
    if installer == PIP:
        given = {"PIP_CACHE_DIR": cache, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
        return (
            Command((interpreter.path, "-m", "venv", venv), given),
            Command((python, "-m", "pip", "install", "--progress-bar=off", *hashes, "-r", lock.kind), given),
        )
    given = {
        "UV_CACHE_DIR": cache,
        # Not hard links: the environment ends owned by root, and a link would take the cache's own file along.
        "UV_LINK_MODE": "copy",
        "UV_COMPILE_BYTECODE": "1",
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",  # the older name
        "UV_NO_MANAGED_PYTHON": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "UV_PROJECT_ENVIRONMENT": venv,
    }
    make = Command((uv, "venv", "--quiet", "--no-project", "--python", interpreter.path, venv), given)
    if lock.kind == UV_LOCK:
        words = ("sync", "--frozen", "--no-dev", "--no-install-project", "--python", python)
        return (make, Command((uv, *words), given))
    return (make, Command((uv, "pip", "install", "--python", python, *hashes, "-r", lock.kind), given))
