# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is live where and what happened when, as one document for programs and as tables for people.

Takes what deploy_info, health_check and ledger_info returned on each host, also where a host could not be asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

# What Ansible adds to a result; everything else is the module's.
OF_ANSIBLE = (
    "ansible_facts",
    "changed",
    "failed",
    "failed_when_result",
    "failed_when_suppressed_exception",
    "invocation",
    "skipped",
    "unreachable",
    "warnings",
    "deprecations",
)
NOTHING = "-"
RUNNING = ("active", "activating", "reloading")


def answered(result: Result) -> bool:
    """Did the module run and succeed? (``failed`` is silenced where a broken host must not hide the others.)"""
    return not result.get("unreachable") and not result.get("skipped") and not _failure(result)


def _failure(result: Result) -> str:
    if result.get("failed") or result.get("exception") or ("msg" in result and "app" not in result):
        return str(result.get("msg") or "it failed without a word")
    return ""


def _first_line(text: Any) -> str:
    lines = str(text).strip().splitlines()
    return lines[0] if lines else ""


def document(
    infos: Mapping[str, Result],
    healths: Mapping[str, Result],
    about: Mapping[str, Any],
    edges: Mapping[str, Result] | None = None,
) -> dict[str, Any]:
    """The state of an environment. ``infos``, ``healths``: host -> result; ``about``: application, environment, ...

    ``edges``: edge host -> what edge_info returned there.
    """
    hosts = {host: _host(info, healths.get(host, {})) for host, info in infos.items()}
    lives = sorted({(one["live"]["release"], one["live"]["config"]) for one in hosts.values() if one.get("live")})
    return {
        **about,
        "live": [{"release": release, "config": config} for release, config in lives],
        "agree": len(lives) <= 1 and all(one["state"] not in ("unreachable", "failed") for one in hosts.values()),
        "healthy": all(one["health"]["ok"] for one in hosts.values() if one.get("health")),
        "hosts": hosts,
        "edges": {host: _edge(edge) for host, edge in (edges or {}).items() if "out" in edge},
    }


def _edge(info: Result) -> dict[str, Any]:
    return {name: info[name] for name in ("out", "maintenance", "maintenance_words")}


def _host(info: Result, health: Result) -> dict[str, Any]:
    if info.get("unreachable"):
        return {"state": "unreachable", "error": _first_line(info.get("msg", ""))}
    if info.get("skipped") or not info:
        return {"state": "no_process"}
    if _failure(info):
        return {"state": "failed", "error": _failure(info)}
    facts = {name: value for name, value in info.items() if name not in OF_ANSIBLE and not name.startswith("_")}
    return {"state": "ready" if info.get("live") else "empty", **facts, "health": _health(info, health)}


def _health(info: Result, health: Result) -> dict[str, Any] | None:
    """One answer of the live socket where there is a web process, else the state of the live slot's units."""
    live = info.get("live")
    if not live:
        return None
    if health and not health.get("skipped") and not health.get("unreachable"):
        bad = health.get("failed") or "last" not in health
        return {"ok": not bad, "says": _first_line(health.get("msg", "no answer")) if bad else "answers"}
    processes = (info.get("slots") or {}).get(live["slot"], {}).get("processes") or {}
    down = [name for name, unit in sorted(processes.items()) if unit.get("active") not in RUNNING]
    services = info.get("services") or {}
    down += [name for name, one in sorted(services.items()) if one["running"] < one["replicas"]]
    return {"ok": not down, "says": ", ".join(down) + " not running" if down else "running"}


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns in line; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _moment(text: Any) -> str:
    """2026-11-21T11:06:10Z as people read it; it stays UTC, and the head says so."""
    return str(text).replace("T", " ").rstrip("Z")[:19] if text else NOTHING


def status_table(state: Mapping[str, Any]) -> str:
    """The document of :func:`document` for people."""
    rows: list[tuple[str, ...]] = [
        ("host", "live", "config", "slot", "since (UTC)", "by", "health", "blue/green", "other slot")
    ]
    notes: list[str] = []
    for host, one in state["hosts"].items():
        if one["state"] in ("unreachable", "failed"):
            rows.append((host, one["state"].upper(), *[NOTHING] * 7))
            notes.append(f"{host}: {one['error']}")
        elif one["state"] == "no_process":
            rows.append((host, "(no process of it)", *[NOTHING] * 7))
        else:
            rows.append(_row(host, one))
            notes += _notes(host, one)
    head = "  ".join(str(state[name]) for name in ("application", "environment", "address") if state.get(name))
    lines = [head, "", *table(rows), "", *_retained(state["hosts"])]
    for host, edge in (state.get("edges") or {}).items():
        notes += [f"{host}: {away} is out of rotation" for away in edge["out"]]
        if edge["maintenance"]:
            notes.append(f"{host}: shows the maintenance page: {edge['maintenance_words'] or 'nobody says why'}")
    if len(state["live"]) > 1:
        notes.insert(0, "The hosts differ in what is live.")
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _row(host: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    live = one.get("live") or {}
    weights = (one.get("route") or {}).get("weights") or {}
    health = one.get("health")
    return (
        host,
        live.get("release") or "nothing yet",
        live.get("config") or NOTHING,
        live.get("slot") or NOTHING,
        _moment(live.get("since")),
        live.get("by") or NOTHING,
        NOTHING if not health else "ok" if health["ok"] else "BAD",
        f"{weights.get('blue', 0)}/{weights.get('green', 0)}" if weights else NOTHING,
        _other_slot(one, live.get("slot", "")),
    )


def _other_slot(one: Mapping[str, Any], live: str) -> str:
    for name, slot in sorted((one.get("slots") or {}).items()):
        if name != live and slot and slot.get("release"):
            states = sorted({str(unit.get("active")) for unit in (slot.get("processes") or {}).values()})
            running = "warm" if any(state in RUNNING for state in states) else "stopped"
            return f"{name}: {slot['release']} ({running})"
    return NOTHING


def _notes(host: str, one: Mapping[str, Any]) -> list[str]:
    notes: list[str] = []
    health = one.get("health")
    if health and not health["ok"]:
        notes.append(f"{host}: {health['says']}")
    for name, service in (one.get("services") or {}).items():
        runs = f"{service['running']} of {service['replicas']} tasks run {service['release']} with {service['config']}"
        notes.append(f"{name} in the swarm: {runs}{', ' + service['update'] if service['update'] else ''}")
    lease = one.get("lease")
    if lease:
        locked = f"{host}: locked for {lease.get('reason')} until {_moment(lease.get('until'))} ({lease.get('owner')})"
        notes.append(f"{locked}, last sign of life {lease.get('silent_seconds')} s ago")
    if one.get("pending"):
        begun = one["pending"]
        said = " ".join(str(begun.get(name) or "?") for name in ("action", "release", "state"))
        notes.append(
            f"{host}: unfinished: {said} (by {begun.get('by')}); it works still, or the host ends it by itself"
        )
    return notes


def lease_table(state: Mapping[str, Any]) -> str:
    """Who holds the lease, and what was done to it, for people."""
    lines = [f"{state['application']}  {state['environment']}  the lease on {state['primary']}", ""]
    lines += [f"{'Would be done' if state['check_mode'] else 'Done'}: {action}" for action in state["actions"]]
    lease = state["lease"]
    if not lease:
        return "\n".join([*lines, "Nobody holds it."])
    rows = [
        ("owner", str(lease["owner"])),
        ("by", lease["by"] or NOTHING),
        ("reason", str(lease["reason"])),
        ("since (UTC)", _moment(lease["since"])),
        ("until (UTC)", _moment(lease["until"])),
        ("last sign of life", f"{lease['silent_seconds']} s ago"),
    ]
    return "\n".join([*lines, *table(rows)])


def _retained(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which releases are kept, on how many of the hosts, the newest first."""
    kept: dict[str, dict[str, Any]] = {}
    asked = [one for one in hosts.values() if one["state"] in ("ready", "empty")]
    for one in asked:
        proven = {entry["release"] for entry in one.get("proven") or []}
        for release in one.get("releases") or []:
            entry = kept.setdefault(release["id"], {"hosts": 0, "words": set(), "created": ""})
            entry["hosts"] += 1
            entry["created"] = max(entry["created"], str(release.get("created") or ""))
            if (one.get("live") or {}).get("release") == release["id"]:
                entry["words"].add("live")
            entry["words"].add("proven" if release["id"] in proven else "not proven")
            if not release.get("complete", True):
                entry["words"].add("incomplete")
    if not kept:
        return ["No release is retained."]
    rows = [("retained", "built (UTC)", "hosts", "")]
    for name, entry in sorted(kept.items(), key=lambda item: item[1]["created"], reverse=True):
        words = [word for word in ("live", "proven", "not proven", "incomplete") if word in entry["words"]]
        rows.append((name, _moment(entry["created"]), f"{entry['hosts']} of {len(asked)}", ", ".join(words)))
    return table(rows)


def history(ledgers: Mapping[str, Result], count: int) -> dict[str, Any]:
    """The events of all hosts' ledgers, the newest first, and the hosts that could not be asked."""
    events: dict[tuple[str, ...], dict[str, Any]] = {}
    silent = {}
    for host, result in ledgers.items():
        if result.get("unreachable") or "entries" not in result:
            if not result.get("skipped"):
                silent[host] = _first_line(result.get("msg", "")) or "no answer"
            continue
        for entry in result["entries"]:
            key = tuple(str(entry.get(name, "")) for name in ("run", "action", "outcome", "release", "config"))
            event = events.setdefault(key, {**entry, "hosts": []})
            event["hosts"].append(host)
            event["time"] = max(str(event["time"]), str(entry["time"]))
    entries = sorted(events.values(), key=lambda event: str(event["time"]), reverse=True)
    return {"entries": entries[:count], "silent": silent}


def history_table(state: Mapping[str, Any]) -> str:
    """The document of :func:`history` for people."""
    rows: list[tuple[str, ...]] = [("time (UTC)", "action", "outcome", "release", "config", "by", "hosts", "detail")]
    rows += [_event(entry) for entry in state["entries"]]
    lines = table(rows) if state["entries"] else ["Nothing has happened yet."]
    return "\n".join([*lines, *_silence(state["silent"].items())])


def _event(entry: Mapping[str, Any]) -> tuple[str, ...]:
    hosts = entry["hosts"]
    return (
        _moment(entry.get("time")),
        str(entry.get("action") or NOTHING),
        str(entry.get("outcome") or NOTHING),
        str(entry.get("release") or NOTHING),
        str(entry.get("config") or NOTHING),
        str(entry.get("by") or NOTHING),
        " ".join(hosts) if len(hosts) <= 4 else f"{len(hosts)} hosts",
        _first_line(entry.get("detail") or ""),
    )


def _silence(hosts: Iterable[tuple[str, str]]) -> list[str]:
    return [line for host, why in hosts for line in ("", f"{host} could not be asked: {why}")]


def backup_table(backups: Sequence[Mapping[str, Any]], problems: Sequence[str] = ()) -> str:
    """Backups, as M(postgres_backup) returns them, for people."""
    rows: list[tuple[str, ...]] = [
        ("backup", "taken (UTC)", "status", "level", "tables", "rows", "database", "archive", "seconds")
    ]
    rows += [
        (
            str(one["id"]),
            _moment(one["at"]),
            str(one["status"]),
            str(one["level"]),
            str(one["tables"]),
            str(one["rows"]),
            _size(one["database_bytes"]),
            _size(one["archive_bytes"]),
            f"{float(one['seconds'].get('total', 0)):.1f}",
        )
        for one in backups
    ]
    lines = table(rows) if backups else ["There is no backup."]
    return "\n".join([*lines, *(f"\n{problem}" for problem in problems)])


def _size(count: Any) -> str:
    """Bytes in MB, as disks are sold: 10^6."""
    return f"{float(count) / 1e6:.1f} MB"
