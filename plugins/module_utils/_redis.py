# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Redis of a host, which all its applications share: who may use it, and what is to be done for one of them.

Pure: ``_redis_server.py`` looks and acts. Every application has two of Redis' numbered databases, one for its cache and
one for its queue, and a record in its state directory that says which. All of them share the server's settings.

Nothing here restarts a server. What runs is told its settings, and the files say the same for its next start. Above
all, a server that kept no append-only file writes a whole one before any file asks for it: where there is none,
Redis starts with nothing, and writes that over the dump that it has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._addresses import own_addresses
from ansible_collections.slipway.webapp.plugins.module_utils._derived import LOOPBACK
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step

PORT = 6379
# Redis has sixteen databases; the last that a cache can have leaves one for its queue.
NUMBERS = range(15)
# What every application had before numbers were recorded.
FIRST = (0, 1)
UNIT = "redis-server.service"
CONFIG = "/etc/redis/redis.conf"
SETTINGS = "/etc/redis/slipway.conf"
DATA = "/var/lib/redis"
INCLUDE = f"include {SETTINGS}"
HEADER = "# Managed by the Ansible collection slipway.webapp; changes are overwritten."


@dataclass(frozen=True)
class Record:
    """What an application has: its numbers, also earlier ones, and the addresses on which its other hosts ask."""

    numbers: tuple[int, ...] = ()
    listen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What an application wants. Without ``listen`` it asks on the loopback address only, and without a password.

    ``addresses`` are those that this host has.
    """

    app: str
    number: int = 0
    password: str = ""
    listen: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[int, int]:
        return self.number, self.number + 1


@dataclass(frozen=True)
class Found:
    """What is there. ``config`` and ``settings`` are the texts of the two files, None where there is none.

    ``packaged``: the first is as the package brought it. ``live`` are the settings of the running server, None when it
    could not be asked; ``silent`` then says why, if there is one. ``whole``: its append-only file holds all its data.
    ``dump`` and ``appended``: which files with data there are. ``new``: this host has never seen the application.
    """

    installed: bool = False
    active: bool = False
    enabled: bool = False
    config: str | None = None
    settings: str | None = None
    packaged: bool = True
    live: Mapping[str, str] | None = None
    silent: str = ""
    whole: bool = False
    keys: int = 0
    dump: bool = False
    appended: bool = False
    records: Mapping[str, Record] = field(default_factory=dict)
    unrecorded: tuple[str, ...] = ()
    new: bool = False

    @property
    def included(self) -> bool:
        return INCLUDE in _effective(self.config or "")

    @property
    def unwritten(self) -> bool:
        """Are its data in no append-only file?"""
        if self.live is None:
            return self.dump and not self.appended
        return self.live["appendonly"] != "yes"

    @property
    def ours(self) -> bool:
        """Has it been set up by us?"""
        return self.settings is not None or self.included


def listening(
    *, host: str, address: str, listen: str, addresses: Sequence[str], resolve: Callable[[str], Sequence[str]]
) -> tuple[str, ...]:
    """The addresses of this host on which the application's other hosts reach Redis; none where there are no others.

    ``host`` is where the application looks for it, the rest as ``own_addresses`` has it.
    """
    if host in LOOPBACK:
        return ()
    setting = "redis_listen_address"
    return own_addresses("Redis", setting=setting, chosen=listen, address=address, here=addresses, resolve=resolve)


def record_of(found: Found, wish: Wish) -> Record:
    """What this application has from now on. Earlier numbers stay its own: a rollback brings them back."""
    before = found.records.get(wish.app, Record())
    return Record(numbers=tuple(sorted({*before.numbers, *wish.numbers})), listen=wish.listen)


def settings_of(found: Found, wish: Wish) -> dict[str, str]:
    """What the server shall run with, for all applications of this host together."""
    others = [address for app, each in found.records.items() if app != wish.app for address in each.listen]
    listen = sorted({*wish.listen, *(address for address in others if address in wish.addresses)})
    return {
        "bind": " ".join(["127.0.0.1 -::1", *listen]),
        "requirepass": wish.password,
        "protected-mode": "yes",
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }


def text_of(settings: Mapping[str, str]) -> str:
    """The file with these settings."""
    quoted = {"requirepass": '"{}"'.format(settings["requirepass"].replace("\\", "\\\\").replace('"', '\\"'))}
    lines = [f"{name} {quoted.get(name, value)}" for name, value in settings.items() if value]
    return "\n".join([HEADER, *lines, ""])


def password_in(text: str | None) -> str:
    """The password that such a file asks for; '' for none."""
    match = re.search(r'^requirepass "(.*)"$', text or "", re.MULTILINE)
    return re.sub(r"\\(.)", r"\1", match.group(1)) if match else ""


def without_password(text: str) -> str:
    """What may be shown of a text about settings."""
    return "".join(line for line in text.splitlines(keepends=True) if "requirepass" not in line)


def _effective(config: str) -> list[str]:
    lines = [line.strip() for line in config.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def with_include(config: str) -> str:
    """The server's own file with ours at its end, because the last value of a setting counts."""
    effective = _effective(config)
    if effective.count(INCLUDE) == 1 and effective[-1] == INCLUDE:
        return config
    return f"{without_include(config)}{INCLUDE}\n"


def without_include(config: str) -> str:
    """The server's own file alone."""
    return "".join(f"{line}\n" for line in config.splitlines() if line.strip() != INCLUDE)


def refuse(found: Found, wish: Wish) -> None:
    """Nothing is done for an application that would take from another one, or on a server that is somebody else's."""
    _refuse_numbers(found, wish)
    _refuse_password(found, wish)
    if found.installed and not found.ours:
        _refuse_stranger(found, wish)
    if found.installed and found.ours:
        _refuse_silent(found)


def free_numbers(records: Mapping[str, Record]) -> list[int]:
    """What webapp_redis_number may be beside these."""
    taken = {number for each in records.values() for number in each.numbers}
    return [number for number in NUMBERS if not {number, number + 1} & taken]


def _refuse_numbers(found: Found, wish: Wish) -> None:
    others = {app: each for app, each in found.records.items() if app != wish.app}
    free = ", ".join(map(str, free_numbers(others))) or "none"
    who = [app for app, each in sorted(others.items()) if set(each.numbers) & set(wish.numbers)]
    if who:
        raise SlipwayError(
            f"The numbers {wish.number} and {wish.number + 1} of this host's Redis are not free for {wish.app}",
            found="; ".join(f"{app} has {', '.join(map(str, others[app].numbers))}" for app in who),
            expected=f"two numbers that nobody else has; webapp_redis_number may be {free}",
            next_step=f"set it; or, if {' and '.join(who)} was uninstalled, "
            + " and ".join(f"rm {Layout(app).redis_record}" for app in who),
        )
    recorded = {number for each in found.records.values() for number in each.numbers}
    unsaid = set(FIRST) & set(wish.numbers) - recorded
    if found.settings is not None and found.new and found.unrecorded and unsaid:
        names = ", ".join(found.unrecorded)
        raise SlipwayError(
            f"Whether the numbers {wish.number} and {wish.number + 1} of this host's Redis are free is not known",
            found=f"applications without a record of theirs: {names}; each that used this Redis had 0 and 1",
            expected=f"a record of each that uses it, such as {Layout(found.unrecorded[0]).redis_record}",
            next_step="run provision.yml for whom of them uses it; if none does, set webapp_redis_number to one of "
            + ", ".join(map(str, free_numbers({**found.records, "": Record(FIRST)}))),
        )


def _refuse_password(found: Found, wish: Wish) -> None:
    """A server has one password, and who does not know it is shut out."""
    others = sorted(app for app in found.records if app != wish.app)
    has = password_in(found.settings)
    if not others or found.settings is None or has == wish.password:
        return
    names = " and ".join(others)
    if not has:
        said = f"it asks for none, because {names} can only be reached on the loopback address; {wish.app} has one"
    elif not wish.password:
        said = f"it asks for the one of {names}; {wish.app} has none, because it would use the loopback address"
    else:
        said = f"it asks for the one of {names}; {wish.app} has another one"
    raise SlipwayError(
        "The applications of this host share one Redis, and need the same password for it",
        found=said,
        expected="the same webapp_redis_password for all of them; who is the only host of its environment also needs "
        "webapp_redis_host: an address of this host",
        next_step="set that, and provision and deploy whom it is new to; to change it for all of them, "
        + " and ".join(f"rm {Layout(app).redis_record}" for app in others)
        + ", then provision one after the other; or set webapp_redis_url for this one",
    )


def _foreign(found: Found) -> Iterator[str]:
    if not found.packaged:
        yield f"{CONFIG} is not as the package brought it"
    if found.silent:
        yield found.silent
    elif found.keys:
        yield f"{found.keys} keys in it"
    if not found.active and not found.silent and (found.dump or found.appended):
        yield f"it does not run, and there are data in {DATA}"


def _refuse_stranger(found: Found, wish: Wish) -> None:
    signs = list(_foreign(found))
    if signs:
        raise SlipwayError(
            "The Redis of this host is somebody else's, and is left as it is",
            found="; ".join(signs),
            expected="none, or one as the package brings it: with its own settings, running, and empty",
            next_step=f"set webapp_redis_url (redis://127.0.0.1:{PORT}/0) to use it as it is, or another host for the "
            f"role broker; if it may be {wish.app}'s, start it, empty it and put the package's {CONFIG} back",
        )


def _refuse_silent(found: Found) -> None:
    """Ours, but nobody can make sure that it keeps its data."""
    if found.silent:
        raise SlipwayError(
            "The Redis of this host cannot be asked what it keeps",
            found=found.silent,
            expected=f"an answer of {UNIT} on port {PORT}, with the password in {SETTINGS} or webapp_redis_password",
            next_step=f"systemctl status {UNIT}; if it has another password, write it into {SETTINGS}",
        )


def plan(found: Found, wish: Wish) -> tuple[Step, ...]:
    """What is to be done, in this order: a run that ends anywhere leaves a server that keeps its data."""
    return tuple(_steps(found, wish))


def _steps(found: Found, wish: Wish) -> Iterator[Step]:
    record, settings = record_of(found, wish), settings_of(found, wish)
    if found.records.get(wish.app) != record:
        numbers = ", ".join(map(str, record.numbers))
        yield Step("claim", f"give {wish.app} the numbers {numbers} of Redis", {"record": record})
    if found.included and found.unwritten:
        yield Step(
            "exclude", f"let a start of Redis read its dump: take {SETTINGS} out of {CONFIG} until all is written"
        )
    if not found.active:
        yield Step("start", f"start {UNIT}")
    live = dict(found.live or {})
    if live.get("appendonly") != "yes" or not (found.whole or found.included):
        yield Step("append", "let Redis write all that it holds into an append-only file, and wait for it")
    if differing(live, settings):
        names = ", ".join(differing(live, settings))
        yield Step("tell", f"tell the running Redis {names}", {"settings": settings})
    text = text_of(settings)
    if found.settings != text:
        yield Step("write", f"write {SETTINGS}", {"text": text})
    if found.config is None or found.unwritten or with_include(found.config) != found.config:
        yield Step("include", f"include it in {CONFIG}")
    if not found.enabled:
        yield Step("enable", f"start {UNIT} at boot")


def differing(live: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """The settings that a server does not run with."""
    return {name: value for name, value in settings.items() if name != "appendonly" and live.get(name) != value}


def record_text(record: Record) -> str:
    """A record as it is written."""
    return json.dumps({"numbers": record.numbers, "listen": record.listen}) + "\n"


def record_from(value: Any) -> Record:
    """A record as its file has it."""
    return Record(numbers=tuple(map(int, value["numbers"])), listen=tuple(map(str, value["listen"])))
