# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The document by which Docker Engine is told how to run, ``daemon.json``: what we want of it, and how that is merged
with what others have written there.

A document belongs to whoever operates the host. We keep a record of what we have put into it, so that what we no longer
want goes again and nothing else does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

FILE = "/etc/docker/daemon.json"
Document = dict[str, Any]

# What a running engine takes over when it gets SIGHUP, in 20.10 and in everything newer; for all else it is restarted.
RELOADABLE = frozenset(
    {
        "authorization-plugins",
        "debug",
        "default-runtime",
        "features",
        "insecure-registries",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "registry-mirrors",
        "runtimes",
        "shutdown-timeout",
    }
)

# The options that each of the drivers which we offer understands, besides those that all drivers do.
_COMMON_LOG_OPTS = frozenset(
    {"cache-compress", "cache-disabled", "cache-max-file", "cache-max-size", "max-buffer-size", "mode"}
)
_TAGGING = frozenset({"env", "env-regex", "labels", "labels-regex", "tag"})
_ROTATING = frozenset({"compress", "max-file", "max-size"})
LOG_OPTS: Mapping[str, frozenset[str]] = {
    "journald": _COMMON_LOG_OPTS | _TAGGING,
    "json-file": _COMMON_LOG_OPTS | _TAGGING | _ROTATING,
    "local": _COMMON_LOG_OPTS | _TAGGING | _ROTATING,
}

# Flags whose name in the document is another one than the flag's.
_PLURALS = {
    "H": "hosts",
    "host": "hosts",
    "add-runtime": "runtimes",
    "authorization-plugin": "authorization-plugins",
    "b": "bridge",
    "D": "debug",
    "default-address-pool": "default-address-pools",
    "default-network-opt": "default-network-opts",
    "default-ulimit": "default-ulimits",
    "dns-opt": "dns-opts",
    "exec-opt": "exec-opts",
    "feature": "features",
    "g": "data-root",
    "G": "group",
    "graph": "data-root",
    "insecure-registry": "insecure-registries",
    "l": "log-level",
    "label": "labels",
    "log-opt": "log-opts",
    "node-generic-resource": "node-generic-resources",
    "p": "pidfile",
    "registry-mirror": "registry-mirrors",
    "s": "storage-driver",
    "storage-opt": "storage-opts",
}
_WITHOUT_VALUE = frozenset({"D", "debug"})


def parsed(text: str | None, *, file: str = FILE) -> Document:
    """The document in ``text``; a file that is not there, or empty, is an empty one."""
    if text is None or not text.strip():
        return {}
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _refused(file, f"text that is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise _refused(file, f"JSON, but a {type(document).__name__} instead of an object")
    return document


def _refused(file: str, found: str) -> SlipwayError:
    return SlipwayError(
        f"{file} on this host cannot be merged with what the engine needs",
        found=found,
        expected="one JSON object, as Docker Engine reads it",
        next_step=f"correct it by hand, or move it away if nobody needs it (mv {file} {file}.old), then run this again",
    )


def rendered(document: Mapping[str, Any]) -> str:
    """As text; keys stay in the order in which they were found."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def merged(existing: Mapping[str, Any], wish: Mapping[str, Any], owned: Mapping[str, Any]) -> Document:
    """``existing`` with ``wish`` in it, and without what only ``owned`` (our wish of the last time) had brought.

    Objects are merged key by key and lists element by element. A value that somebody has changed since is theirs.
    """
    result: Document = {}
    for key, value in existing.items():
        if key in wish:
            result[key] = _both(value, wish[key], owned.get(key))
        elif key in owned:
            left = _without(value, owned[key])
            if left not in (None, {}, []):
                result[key] = left
        else:
            result[key] = value
    for key, value in wish.items():
        result.setdefault(key, value)
    return result


def _both(value: Any, wish: Any, owned: Any) -> Any:
    if isinstance(value, dict) and isinstance(wish, dict):
        return merged(value, wish, owned if isinstance(owned, dict) else {})
    if isinstance(value, list) and isinstance(wish, list):
        ours = owned if isinstance(owned, list) else []
        kept = [each for each in value if each in wish or each not in ours]
        return kept + [each for each in wish if each not in kept]
    return wish


def _without(value: Any, owned: Any) -> Any:
    if isinstance(value, dict) and isinstance(owned, dict):
        return merged(value, {}, owned)
    if isinstance(value, list) and isinstance(owned, list):
        return [each for each in value if each not in owned]
    return None if value == owned else value


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys in which two documents differ."""
    missing = object()
    keys = list(dict.fromkeys([*one, *other]))
    return [key for key in keys if one.get(key, missing) != other.get(key, missing)]


def foreign_log_opts(document: Mapping[str, Any]) -> list[str]:
    """Options that the chosen log driver does not know: the engine would start no container with them."""
    known = LOG_OPTS.get(str(document.get("log-driver")))
    options = document.get("log-opts")
    if known is None or not isinstance(options, dict):
        return []
    return sorted(str(name) for name in options if name not in known)


def flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The flags of a command line of dockerd: their names in the document, and their values."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word in ("-", "--"):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("--") and not equals and len(name) > 1:
            name, value, equals = name[0], name[1:], "="
        if not equals and name not in _WITHOUT_VALUE and rest and not rest[0].startswith("-"):
            value = rest.pop(0)
        yield _PLURALS.get(name, name), value


def conflicts(words: Sequence[str], document: Mapping[str, Any]) -> list[str]:
    """What is given both by a flag and in the document: with that an engine does not start."""
    return sorted({name for name, _value in flags(words)} & set(document))


def is_local(address: str) -> bool:
    """Is an address of the engine one that only this host can reach, by a file that has an owner?"""
    return address.startswith(("unix://", "fd://", "/"))


def exposed(words: Sequence[str], document: Mapping[str, Any], listens: Sequence[str]) -> list[str]:
    """Where the engine would answer beyond its own socket, and who says so."""
    hosts = document.get("hosts")
    found = [
        f"hosts in {FILE}: {each}" for each in (hosts if isinstance(hosts, list) else []) if not is_local(str(each))
    ]
    found += [f"docker.service: -H {value}" for name, value in flags(words) if name == "hosts" and not is_local(value)]
    return found + [f"docker.socket: ListenStream={each}" for each in listens if not is_local(each)]
