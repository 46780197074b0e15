# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy would do, before it does it: one document for programs, one screen for whoever decides.

What is not known yet is said to be unknown, never left out and never taken for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._artifact import migration_files
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rollout import batches
from ansible_collections.slipway.webapp.plugins.module_utils._status import NOTHING, table

Info = Mapping[str, Any]
"""What the module ``deploy_info`` returned for one host, also if it failed there or was skipped."""

SHORT = 10  # digits of a commit that people see
FILES = 10  # names of migrations that are shown


def _complete(info: Info, release: str) -> bool:
    return any(one["id"] == release and one.get("complete") for one in info.get("releases") or [])


def _host(info: Info, release: str, config: str) -> dict[str, Any]:
    """What a host serves now and will serve."""
    if info.get("unreachable"):
        return {"state": "unreachable", "error": str(info.get("msg") or "").strip()}
    if "wanted" not in info:
        why = "it is not provisioned" if info.get("missing") else str(info.get("msg") or "no answer").strip()
        missing = list(info.get("missing") or [])
        return {"state": "must_be_provisioned" if missing else "failed", "error": why, "missing": missing}
    wanted, live = info["wanted"], info.get("live")
    serves = {name: live[name] for name in ("release", "config", "slot")} if live else None
    return {
        "state": "up_to_date" if wanted["up_to_date"] else "due",
        "serves": serves,
        "will_serve": {"release": release, "config": config, "slot": wanted["target_slot"]},
        "needs": list(wanted["needs"]),
        "staged": _complete(info, release),
        "pending": bool(info.get("pending")),
        "pending_run": str((info.get("pending") or {}).get("run", "")),
    }


def _live(infos: Mapping[str, Info]) -> list[dict[str, Any]]:
    """The pairs that are live now, each once, with who brought them and when."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for info in infos.values():
        live = info.get("live") or {}
        if live:
            one = {name: live.get(name) for name in ("release", "config", "since", "by")}
            found.setdefault((live["release"], live["config"]), one)
    return [found[key] for key in sorted(found)]


def live_commit(info: Info) -> str:
    """The commit of the release that is live on a host, or ''."""
    live = (info.get("live") or {}).get("release")
    return next((str(one.get("commit") or "") for one in info.get("releases") or [] if one["id"] == live), "")


def _migrations(info: Info, about: Mapping[str, Any]) -> dict[str, Any]:
    """What is pending, if it could be asked; else the files that the live release has not (None: not known)."""
    told = about.get("migrations") or {}
    if not about["migrates"]:
        return {"known": True, "why": "", "pending": [], "candidates": [], "unsafe": []}
    # In check mode a release that is not there yet has no migrations to tell of.
    if "pending" in told and (_complete(info, about["release"]) or not about["check_mode"]):
        names = ("id", "class", "old_code_ok", "reversible")
        pending = [{name: one[name] for name in names} for one in told["pending"]]
        return {"known": True, "why": "", "pending": pending, "candidates": [], "unsafe": list(told["unsafe"])}
    live = (info.get("live") or {}).get("release")
    if told.get("failed"):
        why = f"they could not be asked: {str(told.get('msg') or '').strip().splitlines()[0]}"
    else:
        why = "the release is not on the primary yet; only there it can be asked"
    if about["artifact"].get("image"):  # its files are in a registry, nobody has seen them here
        return {"known": False, "why": why, "pending": [], "candidates": None, "unsafe": []}
    marker = f"/releases/{live}/code/"
    there = migration_files(path.partition(marker)[2] for path in about.get("live_files") or [])
    new = sorted(set(about["artifact"].get("migrations") or []) - set(there))
    return {"known": False, "why": why, "pending": [], "candidates": new, "unsafe": []}


def _backup(migrations: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Whether there will be a backup (None: not known), and what is proven of it."""
    needed = bool(migrations["pending"]) if migrations["known"] else None
    given = about["backup"]
    if given["without"]:
        return {"needed": needed, "made": False, "level": "", "rehearsed": False}
    return {"needed": needed, "made": needed, "level": given["level"], "rehearsed": bool(given["rehearse"])}


def document(infos: Mapping[str, Info], about: Mapping[str, Any]) -> dict[str, Any]:
    """The plan. ``infos``: host -> deploy_info; ``about``: what the run knows beside them (``gather_plan.yml``)."""
    primary = infos.get(about["primary"]) or {}
    asked = {host: info for host, info in infos.items() if not info.get("skipped")}
    hosts = {host: _host(info, about["release"], about["config"]) for host, info in asked.items()}
    web = [host for host in about["web_hosts"] if host in hosts]
    artifact = about["artifact"]
    migrations = _migrations(primary, about)
    return {
        **{name: about[name] for name in ("application", "environment", "address", "primary", "config")},
        "release": {
            "id": about["release"],
            **{name: artifact.get(name) for name in ("version", "sha256", "commit", "files", "size")},
            "frontend": {name: about["frontend"].get(name) for name in ("sha256", "files", "size")}
            if about.get("frontend", {}).get("sha256")
            else None,
        },
        "up_to_date": bool(hosts) and all(one["state"] == "up_to_date" for one in hosts.values()),
        "possible": all(one["state"] in ("up_to_date", "due") for one in hosts.values()) and not migrations["unsafe"],
        "live": _live(infos),
        "commits": {name: about["commits"].get(name) for name in _COMMITS} if about.get("commits") else None,
        "migrations": migrations,
        "backup": _backup(migrations, about),
        "hosts": hosts,
        "batches": batches(web, about["batches"], others=[host for host in hosts if host not in web]),
        "canary_steps": list(about["canary_steps"]),
        "smoke_tests": list(about["smoke_tests"]),
        "lease": primary.get("lease"),
    }


_COMMITS = ("known", "why", "from", "to", "count", "taken_back", "uncommitted", "subjects")


def plan_table(plan: Mapping[str, Any]) -> str:
    """The plan for people."""
    head = "  ".join(str(plan[name]) for name in ("application", "environment", "address"))
    rows = [("release", line) for line in _release_lines(plan)]
    rows += [("commits", line) for line in _commit_lines(plan["commits"] or {"known": False, "why": "nobody asked"})]
    rows += [("migrations", line) for line in _migration_lines(plan["migrations"])]
    rows += [("backup", _backup_line(plan["backup"])), ("traffic", _traffic_line(plan))]
    if plan["smoke_tests"]:
        rows.append(("smoke tests", ", ".join(plan["smoke_tests"])))
    lines, before = [], ""
    for name, text in rows:
        lines.append(f"{name if name != before else '':<12} {text}".rstrip())
        before = name
    return "\n".join([head, "", *lines, "", *_host_lines(plan["hosts"]), *_notes(plan)])


def _release_lines(plan: Mapping[str, Any]) -> list[str]:
    release = plan["release"]
    said = [f"{release['files']} files" if release["files"] else "", f"artifact {str(release['sha256'] or '')[:12]}"]
    lines = [f"{release['id']} with config {plan['config']} ({', '.join(one for one in said if one)})"]
    front = release["frontend"]
    if front and front["sha256"] != release["sha256"]:
        count = f"{front['files']} files, " if front["files"] else ""
        lines.append(f"with a front end ({count}artifact {front['sha256'][:12]})")
    for live in plan["live"]:
        since = (
            f", live since {str(live['since']).replace('T', ' ').rstrip('Z')} UTC by {live['by']}"
            if live["since"]
            else ""
        )
        lines.append(f"instead of {live['release']} with config {live['config']}{since}")
    return lines if plan["live"] else [*lines, "the first one: nothing is live"]


def _commit_lines(commits: Mapping[str, Any]) -> list[str]:
    if not commits["known"]:
        return [f"not known: {commits['why']}"]
    if commits["from"] == commits["to"]:
        lines = [f"none: {commits['to'][:SHORT]} as before"]
    else:
        lines = [f"{commits['count']} from {commits['from'][:SHORT]} to {commits['to'][:SHORT]}"]
    lines += [f"  {one['commit'][:SHORT]} {one['subject']}" for one in commits["subjects"]]
    if commits["count"] > len(commits["subjects"]):
        lines.append(f"  and {commits['count'] - len(commits['subjects'])} more")
    if commits["taken_back"]:
        lines.append(f"TAKES BACK {commits['taken_back']} that the live release has")
    if commits["uncommitted"]:
        lines.append("and changes of the work tree that no commit holds")
    return lines


def _migration_lines(migrations: Mapping[str, Any]) -> list[str]:
    if migrations["known"]:
        return [_migration_line(one, migrations["unsafe"]) for one in migrations["pending"]] or ["none"]
    lines = [f"NOT KNOWN: {migrations['why']}"]
    if migrations["candidates"] is None:
        return lines
    shown = migrations["candidates"][:FILES]
    rest = len(migrations["candidates"]) - len(shown)
    lines += (
        ["files of it that the live release has not:"]
        if shown
        else ["it has no migration file that the live release has not"]
    )
    return [*lines, *(f"  {name}" for name in shown), *([f"  and {rest} more"] if rest else [])]


def _migration_line(one: Mapping[str, Any], unsafe: Sequence[str]) -> str:
    words = [
        "UNSAFE" if one["id"] in unsafe else f"{one['class']} the switch",
        "" if one["old_code_ok"] else "the live release cannot live with it",
        "" if one["reversible"] else "cannot be undone",
    ]
    return f"{one['id']}: {'; '.join(word for word in words if word)}"


def _backup_line(backup: Mapping[str, Any]) -> str:
    if not backup["level"]:
        return "none: webapp_accept_migrations_without_backup is set"
    proof = f"level {backup['level']}" + (", the migrations rehearsed on its copy" if backup["rehearsed"] else "")
    if backup["needed"] is None:
        return f"{proof}; if a migration is pending"
    return proof if backup["needed"] else "none: no migration is pending"


def _traffic_line(plan: Mapping[str, Any]) -> str:
    text = ", then ".join(" ".join(batch) for batch in plan["batches"]) or "no host"
    steps = ", ".join(f"{step} %" for step in plan["canary_steps"])
    return f"{text}; the first by {steps}" if len(plan["canary_steps"]) > 1 else text


def _host_lines(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    rows: list[tuple[str, ...]] = [("host", "serves", "slot", "will serve", "slot", "needs")]
    for host, one in hosts.items():
        if "will_serve" not in one:
            rows.append((host, one["state"].replace("_", " ").upper(), *[NOTHING] * 4))
            continue
        serves, will = one["serves"] or {}, one["will_serve"]
        needs = "nothing" if one["state"] == "up_to_date" else ", ".join(one["needs"])
        rows.append(
            (
                host,
                serves.get("release", "nothing yet"),
                serves.get("slot", NOTHING),
                will["release"],
                will["slot"],
                needs,
            )
        )
    return table(rows)


def _notes(plan: Mapping[str, Any]) -> list[str]:
    notes = []
    for host, one in plan["hosts"].items():
        if one["state"] == "must_be_provisioned":
            notes.append(f"{host} must be provisioned first; it has no {', no '.join(one['missing'])}")
        elif "error" in one:
            notes.append(f"{host}: {one['error'].splitlines()[0] if one['error'] else one['state']}")
        elif one["pending"] and plan["lease"] and plan["lease"]["owner"] == one["pending_run"]:
            notes.append(f"{host}: {one['pending_run']} is at work here")
        elif one["pending"]:
            notes.append(f"{host}: an earlier run broke off; a deploy settles that first")
    if plan["migrations"]["unsafe"]:
        notes.append(
            f"A deploy would be refused: {', '.join(plan['migrations']['unsafe'])} is not safe while users are served."
        )
    if plan["lease"]:
        notes.append(f"Locked for {plan['lease']['reason']} until {plan['lease']['until']} ({plan['lease']['owner']}).")
    if plan["up_to_date"]:
        notes.append("There is nothing to do.")
    return ["", *notes] if notes else []
