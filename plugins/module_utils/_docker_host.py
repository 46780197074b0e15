# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do with Docker on a host, from what the host says (the role's ``look.py``) and what the operator wishes.

Pure: nothing here reads a file or asks the engine. What an engine runs with is what its file said when it started, as
long as the file is older than that. Before we replace the file we note down (``memory``, in /run) what the engine
runs with, so that a run that ended between writing and restarting is finished by the next one.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _docker_daemon as daemon
from ansible_collections.slipway.webapp.plugins.module_utils import _docker_wish as wishes
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._mask import without_password

# Whose engine is the distribution's: only there do we see to what belongs to it.
DISTRIBUTION_PACKAGE = "docker.io"
# Ownership and mode that the CIS benchmark asks for (its section 3), by kind of file.
_ASKED_MODES = {"file": 0o644, "directory": 0o755, "certificate": 0o444}


@dataclass(frozen=True)
class Engine:
    """A Docker engine as a host describes it; see ``look.py`` for the keys."""

    there: bool = False
    package: str = ""
    client: str = ""
    client_package: str = ""
    snap: bool = False
    unit: str = ""
    words: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()
    version: tuple[int, ...] = ()
    active: bool = False
    invocation: str = ""
    newer: bool = False
    file: str | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    modes: tuple[Mapping[str, Any], ...] = ()
    files_limit: int = 0

    @property
    def respected(self) -> bool:
        """Has somebody else brought this engine? Then it is not replaced."""
        return self.there and self.package != DISTRIBUTION_PACKAGE

    @property
    def running(self) -> int:
        return int(self.info.get("ContainersRunning", 0))


def read(said: Mapping[str, Any]) -> Engine:
    """The engine from the answer of ``look.py``."""
    return Engine(
        there=bool(said["dockerd"]),
        package=said["package"],
        client=said["client"],
        client_package=said["client_package"],
        snap=said["snap"],
        unit=said["unit"],
        words=start_words(said["exec_start"], said["environment"], said["environment_files"]),
        listens=tuple(re.findall(r"(\S+) \(\w+\)", said["listens"])),
        version=version_of(said["version"]),
        active=said["active"],
        invocation=said["invocation"],
        newer=said["newer"],
        file=said["file"],
        memory=_object(said["memory"]),
        record=_object(said["record"]),
        info=_object(said["info"]),
        members=tuple(name for name in said["members"].split(",") if name),
        modes=tuple(said["modes"]),
        files_limit=said["files_limit"],
    )


def _object(text: str | None) -> dict[str, Any]:
    """A JSON object that only we or the engine write; what cannot be read is as good as not there."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def version_of(text: str) -> tuple[int, ...]:
    """The numbers in what ``dockerd --version`` says."""
    match = re.search(r"version (\d+)\.(\d+)", text)
    return tuple(int(number) for number in match.groups()) if match else ()


def start_words(exec_start: str, environment: str, files: Mapping[str, str]) -> tuple[str, ...]:
    """The words of dockerd's command line, from the unit's properties as systemctl shows them."""
    match = re.search(r"argv\[\]=(.*?) ; ", exec_start)
    if not match:
        return ()
    variables = _assignments(environment)
    for text in files.values():
        for line in text.splitlines():
            if not line.lstrip().startswith(("#", ";")):
                variables.update(_assignments(line.strip().removeprefix("export ")) if "=" in line else {})
    words: list[str] = []
    for word in match.group(1).split()[1:]:
        name = re.fullmatch(r"\$\{?(\w+)\}?", word)
        words += _split(variables.get(name.group(1), "")) if name else [word]
    return tuple(words)


def _assignments(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in _split(text) if "=" in word)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


@dataclass(frozen=True)
class Plan:
    """What to do; ``problems`` are reasons to do nothing at all."""

    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    there: bool = False
    respected: bool = False
    text: str = ""
    shown: str = ""
    secret: bool = False
    before: str | None = None
    changes: tuple[str, ...] = ()
    reloads: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()
    live_first: bool = False
    running: int = 0
    memory: str = ""
    memory_after_reload: str = ""
    record: str = ""
    certificates: tuple[Mapping[str, str], ...] = ()
    certificates_gone: tuple[str, ...] = ()
    modes: tuple[Mapping[str, str], ...] = ()


def plan(said: Mapping[str, Any], settings: Mapping[str, Any]) -> Plan:
    """What to do on this host. ``settings`` are the role's, without their prefix."""
    engine = read(said)
    problems = [*wishes.problems(settings), *_strangers(engine)]
    try:
        before = daemon.parsed(engine.file)
    except SlipwayError as error:
        return Plan(problems=(*problems, str(error)))
    wish = wishes.document(settings, engine.version, engine.files_limit)
    after = daemon.merged(before, wish, engine.record.get("daemon") or {})
    text = daemon.rendered(after) if after != before or engine.file is None else engine.file
    trusted, vouched = wishes.certificates(settings), engine.record.get("certificates") or []
    pending = _pending(engine, before, after)
    problems += [] if problems else _document_problems(engine, after)
    problems += _interruptions(engine, runs_with(engine, before), after, pending["restarts"], settings)
    return Plan(
        # What an operator wrote into the file or the unit, a proxy's address say, may hold a password.
        problems=tuple(without_password(each) for each in problems),
        notes=tuple(without_password(each) for each in notes(engine, after, settings)),
        there=engine.there and bool(engine.client),
        respected=engine.respected,
        text=text,
        shown=without_password(text),
        secret=any(without_password(each) != each for each in (text, engine.file or "")),
        before=engine.file,
        changes=tuple(daemon.differing(before, after)),
        running=engine.running,
        record=daemon.rendered({"daemon": wish, "certificates": list(trusted)}),
        certificates=tuple({"path": _certificate(address), "text": each} for address, each in trusted.items()),
        certificates_gone=tuple(_certificate(each) for each in vouched if each not in trusted),
        modes=tuple(_wrong_modes(engine)),
        **pending,
    )


def _certificate(address: str) -> str:
    return f"/etc/docker/certs.d/{address}/ca.crt"


def _pending(engine: Engine, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a running engine has not taken over, and what is noted down; one that rests reads all at its start."""
    running = runs_with(engine, before)
    different = daemon.differing(running, after) if running is not None else [daemon.FILE]
    restarts = tuple(key for key in different if key not in daemon.RELOADABLE) if engine.active else ()
    return {
        "restarts": restarts,
        "reloads": tuple(different) if engine.active and not restarts else (),
        "live_first": bool(restarts and engine.running and not engine.info.get("LiveRestoreEnabled")),
        "memory": _memory(engine, running),
        "memory_after_reload": _memory(engine, _reloaded(running, after)),
    }


def runs_with(engine: Engine, before: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The document that a running engine has read; None if nobody knows."""
    if engine.memory.get("invocation") == engine.invocation and isinstance(engine.memory.get("document"), dict):
        document: dict[str, Any] = engine.memory["document"]
        return document
    return None if engine.newer else before


def _reloaded(running: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if running is None:
        return None
    kept = {key: value for key, value in running.items() if key not in daemon.RELOADABLE}
    return {**kept, **{key: value for key, value in after.items() if key in daemon.RELOADABLE}}


def _memory(engine: Engine, document: Mapping[str, Any] | None) -> str:
    if document is None or not engine.invocation:
        return ""
    return daemon.rendered({"invocation": engine.invocation, "document": document})


def _strangers(engine: Engine) -> Iterator[str]:
    """Engines that are no Docker Engine under systemd with /etc/docker."""
    if engine.snap:
        yield _problem(
            "Docker on this host is a snap", "snap.docker.dockerd.service", "an engine that reads /etc/docker"
        )
    elif engine.client_package.startswith("podman"):
        found = f"the command docker is Podman's (package {engine.client_package})"
        yield _problem("Docker on this host is not Docker", found, "Docker Engine, or nothing by that name")
    elif engine.there and not engine.unit:
        yield _problem("systemd does not start the engine of this host", "no docker.service", "a unit docker.service")


def _problem(summary: str, found: str, expected: str, next_step: str = "remove it, then run this again") -> str:
    return str(SlipwayError(summary, found=found, expected=expected, next_step=next_step))


def _document_problems(engine: Engine, after: Mapping[str, Any]) -> Iterator[str]:
    """What would expose the engine, or keep it from starting."""
    exposed = daemon.exposed(engine.words, after, engine.listens)
    if exposed:
        yield _problem(
            "The engine of this host would answer on the network, and who reaches it there is root",
            "; ".join(exposed),
            "nothing but unix:// and fd://",
            "take it away (systemctl cat docker.service docker.socket shows where it is), then run this again",
        )
        return
    both = daemon.conflicts(engine.words, after)
    if both:
        yield _problem(
            "The engine of this host would not start",
            f"{', '.join(both)} in {daemon.FILE} and in the command line of docker.service: {shlex.join(engine.words)}",
            "each of them in one place",
            f"take the flag away, or the key; docker_host_settings: {{{both[0]}: null}} leaves out one of this role",
        )
    files = [value for name, value in daemon.flags(engine.words) if name == "config-file" and value != daemon.FILE]
    if files:
        yield _problem("The engine of this host reads another file", f"--config-file={files[0]}", daemon.FILE)
    foreign = daemon.foreign_log_opts(after)
    if foreign:
        yield _problem(
            f"The log driver {after['log-driver']} does not know all of its options",
            f"log-opts: {', '.join(foreign)} in {daemon.FILE}",
            ", ".join(sorted(daemon.LOG_OPTS[str(after["log-driver"])])),
            "remove them from the file, or set docker_host_log_driver to the driver that they are for",
        )


def _interruptions(
    engine: Engine,
    running: Mapping[str, Any] | None,
    after: Mapping[str, Any],
    restarts: Sequence[str],
    settings: Mapping[str, Any],
) -> Iterator[str]:
    """What containers and images of this host would not survive."""
    swarm = str((engine.info.get("Swarm") or {}).get("LocalNodeState", "inactive"))
    if after.get("live-restore") and swarm not in ("inactive", ""):
        yield _problem(
            "An engine with live-restore starts in no swarm",
            f"this host is {swarm} in a swarm",
            "docker_host_live_restore: false on hosts of a swarm, whose containers are moved instead",
            "set it",
        )
    remapped = _remap_of(engine, running) != after.get("userns-remap", "")
    images, containers = int(engine.info.get("Images", 0)), int(engine.info.get("Containers", 0))
    if remapped and (images or containers):
        yield from _remapping(engine, images, containers, allowed=bool(settings["userns_switch"]))
    if restarts and engine.running and not after.get("live-restore") and not settings["interrupt"]:
        yield _problem(
            "The engine of this host has to be restarted, which ends its containers",
            f"{engine.running} running; without live-restore; to be taken over: {', '.join(restarts)}",
            "docker_host_live_restore: true, or your word that they may end",
            "set docker_host_interrupt: true when they may",
        )


def _remap_of(engine: Engine, running: Mapping[str, Any] | None) -> str:
    """The userns-remap that the engine runs with; where the file does not tell, the engine does."""
    if running is not None:
        return str(running.get("userns-remap", ""))
    has = any("name=userns" in str(each) for each in engine.info.get("SecurityOptions") or [])
    return str(daemon.parsed(engine.file).get("userns-remap", "default")) if has else ""


def _remapping(engine: Engine, images: int, containers: int, *, allowed: bool) -> Iterator[str]:
    found = f"{containers} containers, {engine.running} of them running, and {images} images"
    if not allowed:
        yield _problem(
            "Another userns-remap hides all images and containers of this host: the engine keeps them elsewhere",
            found,
            "a host without any, or your word",
            "set docker_host_userns_switch: true when what is there may be hidden",
        )
    elif engine.running:
        yield _problem(
            "Running containers would go on without an engine that knows them",
            found,
            "no running container when userns-remap changes",
            "docker stop $(docker ps --quiet), then run this again",
        )


def notes(engine: Engine, after: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """What is left as it is, and that the CIS benchmark speaks against."""
    wrong = {
        "insecure-registries": bool(after.get("insecure-registries")),
        "experimental": after.get("experimental") is True,
        "debug": after.get("debug") is True or after.get("log-level") == "debug",
        "iptables": after.get("iptables") is False,
        "seccomp-profile": after.get("seccomp-profile") == "unconfined",
        "storage-driver": after.get("storage-driver") == "aufs",
        "icc": after.get("icc") is not False,
        "no-new-privileges": after.get("no-new-privileges") is not True,
    }
    yield from (f"{daemon.FILE}: {key} is {json.dumps(after.get(key))}" for key, found in wrong.items() if found)
    others = sorted(set(engine.members) - {str(user) for user in settings["users"]})
    if others:
        yield f"group docker, whose members are root: {', '.join(others)}"


def _wrong_modes(engine: Engine) -> Iterator[Mapping[str, str]]:
    """Files of the engine that others than root own, or that allow more than the benchmark does."""
    for each in engine.modes:
        asked = _ASKED_MODES[each["kind"]]
        if each["uid"] or each["gid"] or each["mode"] & ~asked:
            yield {"path": str(each["path"]), "mode": f"{each['mode'] & asked:04o}"}
