# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings of migrations and backups may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._settings import Problem, shown

Rule = tuple[Callable[[Any], bool], str]

PERIODS = ("last", "daily", "weekly", "monthly", "yearly")
ENCRYPTION = {"age": {"tool", "recipients"}, "gpg": {"tool", "recipients", "keys"}}
OFFSITE = {"rclone": {"tool", "remote"}, "restic": {"tool", "repository"}}
SCHEDULES = ("full", "incremental")
CREDENTIALS = re.compile(r"://[^/@\s]*:[^/@\s]+@")
SHORTEST_SECRET = 8
_PLACE = r"/[^\s'\"]+"


def _number(low: float, high: float, what: str = "") -> Rule:
    return (lambda value: low <= value <= high), f"{low} to {high}{what}"


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: bool(re.fullmatch(pattern, value))


def _name(*taken: str) -> Rule:
    """A name in PostgreSQL that is none of its own, which are regular expressions."""
    good = _matches(rf"(?!(?:{'|'.join(taken)})$)[a-z_][a-z0-9_-]{{0,62}}")
    return good, f"a name of lower-case letters, digits, _ and -, none of PostgreSQL's own ({', '.join(taken)})"


RULES: dict[str, Rule] = {
    "webapp_database_name": _name("postgres", "template0", "template1"),
    "webapp_database_user": _name("postgres", "public", "none", "pg_.*"),
    "webapp_alembic_config": (
        lambda text: bool(text) and not text.startswith(("/", "~", "-")) and ".." not in text.split("/"),
        "a path inside the source, without ..",
    ),
    "webapp_accepted_migrations": (
        lambda names: all(re.fullmatch(r"[\w.-]+", name) for name in names),
        "ids of migrations as the plan shows them, such as notes.0003_rename",
    ),
    "webapp_migration_lock_timeout": _number(0.05, 10, " seconds"),
    "webapp_migration_lock_budget": _number(1, 86400, " seconds"),
    "webapp_migration_timeout": _number(1, 86400, " seconds"),
    "webapp_small_table_rows": _number(0, 100_000_000, " rows"),
    "webapp_backup_max_age": _number(60, 2_592_000, " seconds"),
    "webapp_backup_database_url": (
        lambda url: not url or bool(re.fullmatch(r"postgres(ql)?://\S+", url)),
        "postgresql://user:password@host/name",
    ),
    "webapp_backup_directory": (_matches(_PLACE), "an absolute path on the primary"),
    "webapp_backup_scratch_directory": (_matches(_PLACE), "an absolute path on the primary"),
    "webapp_backup_jobs": _number(0, 64),
    "webapp_backup_timeout": _number(60, 604_800, " seconds"),
    "webapp_backup_fresh_seconds": _number(60, 31_536_000, " seconds"),
    "webapp_backup_metrics": (lambda text: not text or bool(re.fullmatch(_PLACE, text)), "an absolute path, or ''"),
    "webapp_backup_physical_directory": (
        _matches(r"/[^\s'\"%]+"),
        "an absolute path on the host with the role database",
    ),
    "webapp_backup_physical_retention": _number(1, 1000, " full copies"),
    "webapp_backup_schedule": (lambda text: "\n" not in text, "one line, as systemd's OnCalendar has it, or ''"),
}


def check_database(values: Mapping[str, Any], host: str) -> list[Problem]:
    """What several of these settings say wrongly together, or one that has parts."""
    checks = (
        _check_commands,
        _check_rehearsal,
        _check_retention,
        _check_encryption,
        _check_offsite,
        _check_places,
        _check_physical,
    )
    return [problem for check in checks for problem in check(values, host)]


def _check_commands(values: Mapping[str, Any], host: str) -> list[Problem]:
    if values.get("webapp_migrations") != "command":
        return []
    names = ("webapp_migration_command", "webapp_migration_pending_command")
    expected = "a list of words, because webapp_migrations is command"
    return [Problem(name, "nothing", expected, host) for name in names if not values.get(name)]


def _check_rehearsal(values: Mapping[str, Any], host: str) -> list[Problem]:
    problems = []
    age, limit = values.get("webapp_backup_max_age", 0), values.get("webapp_backup_timeout", 0)
    if age and limit and age < limit:
        expected = f"at least webapp_backup_timeout ({limit}): a backup that took long would be too old at once"
        problems.append(Problem("webapp_backup_max_age", shown(age), expected, host))
    if values.get("webapp_restore_after_failed_migration") and values.get("webapp_backup_encryption"):
        expected = "false, because webapp_backup_encryption is set: the private key is not on the host"
        problems.append(Problem("webapp_restore_after_failed_migration", "true", expected, host))
    return problems + _check_level(values, host)


def _check_level(values: Mapping[str, Any], host: str) -> list[Problem]:
    level = values.get("webapp_backup_level", "full")
    if not values.get("webapp_backup_rehearse") or level in ("full", "amcheck"):
        return []
    expected = "full: migrations are rehearsed on a copy that has every index; or webapp_backup_rehearse: false"
    return [Problem("webapp_backup_level", shown(level), expected, host)]


def _check_retention(values: Mapping[str, Any], host: str) -> list[Problem]:
    problems = []
    given = values.get("webapp_backup_retention", {"last": 1})
    for name, count in given.items():
        full = f"webapp_backup_retention.{name}"
        if name not in PERIODS:
            problems.append(Problem(full, "a name that does not exist", f"one of {', '.join(PERIODS)}", host))
        elif isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 10_000:
            problems.append(Problem(full, shown(count), "0 to 10000", host))
    if not problems and not any(given.values()):
        problems.append(Problem("webapp_backup_retention", "no backup that stays", "at least {last: 1}", host))
    return problems


def _check_parts(name: str, given: Mapping[str, Any], tools: Mapping[str, set[str]], host: str) -> list[Problem]:
    if not given:
        return []
    tool = given.get("tool")
    if tool not in tools:
        return [Problem(f"{name}.tool", shown(tool), f"one of {', '.join(tools)}", host)]
    wanted = tools[str(tool)]
    problems = [
        Problem(f"{name}.{part}", "a name that does not exist", f"one of {', '.join(sorted(wanted))}", host)
        for part in sorted(set(map(str, given)) - wanted)
    ]
    missing = sorted(part for part in wanted if not given.get(part))
    return problems + [Problem(f"{name}.{part}", "nothing", f"it is required for {tool}", host) for part in missing]


def _check_encryption(values: Mapping[str, Any], host: str) -> list[Problem]:
    return _check_parts("webapp_backup_encryption", values.get("webapp_backup_encryption", {}), ENCRYPTION, host)


def _check_offsite(values: Mapping[str, Any], host: str) -> list[Problem]:
    problems = _check_parts("webapp_backup_offsite", values.get("webapp_backup_offsite", {}), OFFSITE, host)
    for part in ("remote", "repository"):
        if CREDENTIALS.search(str(values.get("webapp_backup_offsite", {}).get(part, ""))):
            expected = "it in webapp_backup_offsite_secrets, by the tool's own variables"
            problems.append(Problem(f"webapp_backup_offsite.{part}", "a URL with a password", expected, host))
    for setting in ("webapp_backup_offsite_environment", "webapp_backup_offsite_secrets"):
        for name, value in values.get(setting, {}).items():
            problems += _check_variable(setting, name, value, host, secret=setting.endswith("_secrets"))
    return problems


def _check_variable(setting: str, name: Any, value: Any, host: str, *, secret: bool) -> list[Problem]:
    full = f"{setting}.{name}"
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", str(name)):
        return [Problem(full, "a name that no shell accepts", "capital letters, digits and _", host)]
    if not isinstance(value, str):
        return [Problem(full, shown(value, secret=True), "a text (put it in quotes)", host)]
    if secret and len(value) < SHORTEST_SECRET:
        found = f"a secret of {len(value)} characters"
        expected = (
            f"at least {SHORTEST_SECRET}: a shorter one cannot be masked; what is not secret belongs into the other one"
        )
        return [Problem(full, found, expected, host)]
    return []


def _check_places(values: Mapping[str, Any], host: str) -> list[Problem]:
    """The throwaway server must not lie where backups are: who runs it may not touch them."""
    kept, thrown = (values.get(f"webapp_backup{part}_directory", "").rstrip("/") for part in ("", "_scratch"))
    if kept and thrown and (f"{kept}/".startswith(f"{thrown}/") or f"{thrown}/".startswith(f"{kept}/")):
        expected = f"a directory apart from webapp_backup_directory ({kept})"
        return [Problem("webapp_backup_scratch_directory", shown(thrown), expected, host)]
    return []


def _check_physical(values: Mapping[str, Any], host: str) -> list[Problem]:
    """It is our own server that is copied, whole, at two kinds of times."""
    problems = []
    if values.get("webapp_backup_physical") and values.get("webapp_database_url"):
        expected = "false, because webapp_database_url names a server that is not ours; ask who runs it"
        problems.append(Problem("webapp_backup_physical", "true", expected, host))
    name = "webapp_backup_physical_schedule"
    given = values.get(name, dict.fromkeys(SCHEDULES, "daily"))
    problems += [
        Problem(f"{name}.{kind}", "a name that does not exist", f"one of {', '.join(SCHEDULES)}", host)
        for kind in sorted(set(map(str, given)) - set(SCHEDULES))
    ]
    for kind in SCHEDULES:
        text = given.get(kind)
        if not isinstance(text, str) or not text.strip() or "\n" in text:
            expected = "one line, as systemd's OnCalendar has it"
            problems.append(Problem(f"{name}.{kind}", shown(text), expected, host))
    return problems
