# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a setting of the right type may be: patterns, ranges, and rules that several settings of one host share."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._layout import NAME_PATTERN
from ansible_collections.slipway.webapp.plugins.module_utils._settings import Problem, shown
from ansible_collections.slipway.webapp.plugins.module_utils._settings_analysis import RULES as ANALYSIS_RULES
from ansible_collections.slipway.webapp.plugins.module_utils._settings_analysis import check_analysis
from ansible_collections.slipway.webapp.plugins.module_utils._settings_database import RULES as DATABASE_RULES
from ansible_collections.slipway.webapp.plugins.module_utils._settings_database import check_database
from ansible_collections.slipway.webapp.plugins.module_utils._settings_frontend import (
    OF_A_BACKEND,
    OF_EVERY_BACKEND,
    check_frontend,
    has_backend,
)
from ansible_collections.slipway.webapp.plugins.module_utils._settings_frontend import RULES as FRONTEND_RULES
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rollout import check_rollout
from ansible_collections.slipway.webapp.plugins.module_utils._settings_scan import RULES as SCAN_RULES
from ansible_collections.slipway.webapp.plugins.module_utils._settings_scan import check_scan
from ansible_collections.slipway.webapp.plugins.module_utils._settings_smoke import RULES as SMOKE_RULES
from ansible_collections.slipway.webapp.plugins.module_utils._settings_smoke import check_smoke
from ansible_collections.slipway.webapp.plugins.module_utils._settings_swarm import RULES as SWARM_RULES
from ansible_collections.slipway.webapp.plugins.module_utils._settings_swarm import check_swarm

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOTTED = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
VARIABLE = r"[A-Z_][A-Z0-9_]*"
ARCHIVE = r".+\.(tar\.gz|tgz)"
# https://user:password@host/...: what stands there would end in process lists and in release.json
CREDENTIALS = re.compile(r"://[^/@\s]*:[^/@\s]+@")
# https://user@host/...: a token often stands there alone, and needs no password
WITH_USER = re.compile(r"https?://[^/?#\s]*@", re.IGNORECASE)

SECRET_LENGTH = 8
# Names of users and groups that a Debian or Ubuntu machine has of its own.
TAKEN = re.findall(
    r"\S+",
    """
    root daemon bin sys adm tty disk lp mail news uucp man proxy kmem dialout fax voice cdrom floppy tape sudo audio dip
    backup operator list irc src shadow utmp video sasl plugdev staff games users nogroup nobody nginx postgres redis
    slipway slipway-backup sshd messagebus polkitd ntp tcpdump tss uuidd landscape lxd docker ssl-cert
    systemd
""",
)
PLACEHOLDER = re.compile(
    r"\b(?:change|replace)[-_ ]?(?:me|this|it)|place[-_ ]?holder|your[-_ ]|^to[-_ ]?do|^django-insecure-|^<.*>$"
    r"|^(.)\1*$|^(?:secret|password|passw0rd|12345678)\d*$",
    re.IGNORECASE,
)
RESERVED = ("STATIC_ROOT", "MEDIA_ROOT", "PYTHONPATH")
HIDDEN = (
    "webapp_database_url",
    "webapp_redis_url",
    "webapp_database_password",
    "webapp_redis_password",
    "webapp_backup_database_url",
    "webapp_preview_token",
)


def is_domain(text: str) -> bool:
    """A host name of at least two labels, in lower case, that is no address."""
    labels = text.split(".")
    return (
        len(text) <= 253
        and len(labels) >= 2
        and all(re.fullmatch(LABEL, label) for label in labels)
        and not labels[-1].isdigit()
    )


def is_address(text: str) -> bool:
    """An IP address or a host name, of one label too."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(re.fullmatch(rf"{LABEL}(\.{LABEL})*", text.lower())) and not re.fullmatch(r"[\d.]+", text)
    return True


def is_placeholder(text: str) -> bool:
    """A text that somebody meant to replace."""
    return bool(PLACEHOLDER.search(text))


def _matches(pattern: str, flags: int = 0) -> Callable[[Any], bool]:
    return lambda value: bool(re.fullmatch(pattern, value, flags))


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: low <= value <= high


def _empty_or(good: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value == "" or good(value)


def _inside(text: str) -> bool:
    return not text.startswith(("/", "~", "-")) and ".." not in text.split("/")


def _url_path(text: str) -> bool:
    return bool(re.fullmatch(r"/([A-Za-z0-9._~-]+/)+", text)) and ".." not in text.split("/")


def _number(low: float, high: float, what: str = "") -> tuple[Callable[[Any], bool], str]:
    return _between(low, high), f"{low} to {high}{what}"


# name: (is the value good, what is expected instead)
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "webapp_name": (
        lambda name: bool(re.fullmatch(NAME_PATTERN, name)) and name not in TAKEN,
        "a lower-case letter, then at most 23 lower-case letters, digits or hyphens, and no system user's name",
    ),
    "webapp_domain": (
        lambda text: is_domain(text) and not is_placeholder(text),
        "a host name in lower case, such as shop.example.org",
    ),
    "webapp_settings_module": (_empty_or(_matches(DOTTED)), OF_EVERY_BACKEND["webapp_settings_module"]),
    "webapp_source": (_empty_or(lambda text: bool(text.strip())), OF_EVERY_BACKEND["webapp_source"]),
    "webapp_source_ref": (_empty_or(_matches(r"[^\s-][^\s]*")), "a branch, a tag or a commit"),
    "webapp_source_sha256": (_empty_or(_matches(r"[0-9a-f]{64}")), "64 hexadecimal digits in lower case"),
    "webapp_source_subdirectory": (_empty_or(_inside), "a path inside the source, without .."),
    "webapp_version": (
        _empty_or(_matches(r"[A-Za-z0-9][A-Za-z0-9._+]{0,39}")),
        "at most 40 letters, digits, dots, underscores or plus signs",
    ),
    "webapp_artifact_directory": (_matches(r"[/~].*"), "an absolute path"),
    "webapp_python": (_matches(r"/\S+"), "an absolute path on the hosts"),
    "webapp_stage_timeout": _number(1, 86400, " seconds"),
    "webapp_wsgi": (_matches(rf"{DOTTED}:{DOTTED}"), "module:name, such as shop.wsgi:application"),
    "webapp_asgi": (_matches(rf"{DOTTED}:{DOTTED}"), "module:name, such as shop.asgi:application"),
    "webapp_web_workers": _number(1, 256),
    "webapp_web_threads": _number(1, 512),
    "webapp_web_timeout": _number(1, 3600, " seconds"),
    "webapp_celery": (_empty_or(_matches(rf"{DOTTED}(:{DOTTED})?")), "the Celery application, such as shop, or ''"),
    "webapp_worker_concurrency": _number(1, 256),
    "webapp_stop_seconds": _number(1, 86400),
    "webapp_worker_drain_seconds": _number(1, 86400),
    "webapp_image_repository": (
        _empty_or(_matches(r"[a-z0-9][a-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+")),
        "a registry and a name, such as registry.example.org/shop, without a tag",
    ),
    "webapp_image_dockerfile": (_inside, "a path inside the source, without .."),
    "webapp_container_network": (_matches(r"[A-Za-z0-9][\w.-]*"), "the name of a network, such as host"),
    "webapp_container_memory": (_empty_or(_matches(r"[1-9][0-9]*[kmg]")), "a size such as 512m or 2g, or ''"),
    "webapp_container_cpus": _number(0, 1024),
    "webapp_container_pids": _number(0, 4194304),
    "webapp_host_roles": (lambda roles: len(roles) > 0, "at least one role"),
    "webapp_address": (
        lambda text: is_address(text) and not is_placeholder(text),
        "an IP address or a host name (the default is ansible_host)",
    ),
    "webapp_environments": (lambda names: len(names) > 0, "at least one group"),
    "webapp_health_path": (
        _matches(r"/[\w.~@:+,=/-]*(\?[\w.~@:+,=/?&%*-]*)?", re.ASCII),
        "a path that begins with /, of letters, digits and . _ ~ @ : + , = / -, with or without a query",
    ),
    "webapp_health_status": (
        lambda values: len(values) > 0 and all(100 <= value <= 599 for value in values),
        "HTTP statuses from 100 to 599",
    ),
    "webapp_health_successes": _number(1, 100),
    "webapp_health_interval": _number(0.01, 60, " seconds"),
    "webapp_health_deadline": _number(1, 3600, " seconds"),
    "webapp_warm_seconds": _number(0, 604800),
    "webapp_retain": _number(1, 100),
    "webapp_lease_seconds": _number(60, 86400),
    "webapp_lease_wait": _number(0, 86400, " seconds"),
    "webapp_by": (lambda text: "\n" not in text and len(text) <= 200, "one line"),
    "webapp_hsts_seconds": _number(0, 63072000),
    "webapp_max_body_size": (_matches(r"\d+[kKmMgG]?"), "a size as Nginx writes it, such as 25m"),
    "webapp_preview_token": (
        _empty_or(lambda text: bool(re.fullmatch(r"[A-Za-z0-9_-]{16,128}", text)) and not is_placeholder(text)),
        "16 to 128 letters, digits, _ and -, or ''",
    ),
    "webapp_static_url": (_empty_or(_url_path), "a path that begins and ends with /, or ''"),
    "webapp_media_url": (_empty_or(_url_path), "a path that begins and ends with /, or ''"),
    "webapp_public_address": (_empty_or(is_address), "an IP address or a host name, or ''"),
    "webapp_database_url": (_empty_or(_matches(r"postgres(ql)?://\S+")), "postgres://..."),
    "webapp_redis_url": (_empty_or(_matches(r"(rediss?|unix)://\S+")), "redis://... or rediss://..."),
    "webapp_redis_number": _number(0, 14),
    **DATABASE_RULES,
    **ANALYSIS_RULES,
    **SCAN_RULES,
    **SMOKE_RULES,
    **FRONTEND_RULES,
    **SWARM_RULES,
}


def check_rules(values: Mapping[str, Any], *, host: str) -> list[Problem]:
    """Everything that a single host's settings say wrongly on their own."""
    problems = []
    unread = () if has_backend(values) else OF_A_BACKEND
    for name, (good, expected) in RULES.items():
        if name in values and name not in unread and not good(values[name]):
            problems.append(Problem(name, shown(values[name], secret=name in HIDDEN), expected, host))
    checks = (
        _check_aliases,
        _check_variables,
        _check_secret_texts,
        _check_urls,
        _check_repeats,
        check_database,
        check_rollout,
        check_analysis,
        check_scan,
        check_smoke,
        check_frontend,
        check_swarm,
    )
    for check in checks:
        problems.extend(check(values, host))
    return problems


def _check_aliases(values: Mapping[str, Any], host: str) -> list[Problem]:
    problems = []
    for alias in values.get("webapp_aliases", []):
        if not is_domain(alias):
            problems.append(Problem("webapp_aliases", shown(alias), "host names in lower case", host))
        elif alias == values.get("webapp_domain"):
            problems.append(Problem("webapp_aliases", shown(alias), "names other than webapp_domain", host))
    return problems


def _check_repeats(values: Mapping[str, Any], host: str) -> list[Problem]:
    problems: list[Problem] = []
    for name in ("webapp_host_roles", "webapp_aliases", "webapp_environments"):
        entries = list(values.get(name, []))
        twice = sorted({entry for entry in entries if entries.count(entry) > 1})
        problems.extend(Problem(name, f"{entry} twice", "each once", host) for entry in twice)
    if values.get("webapp_static_url") and values.get("webapp_static_url") == values.get("webapp_media_url"):
        found = shown(values["webapp_media_url"])
        problems.append(Problem("webapp_media_url", found, "another path than webapp_static_url", host))
    return problems


def _check_variables(values: Mapping[str, Any], host: str) -> list[Problem]:
    """The dictionaries that become environment variables: their names, their values, and no name in two of them."""
    problems = []
    pairs = (("webapp_environment", "webapp_secrets"), ("webapp_build_environment", "webapp_build_secrets"))
    for plain, secret in pairs:
        for name in (plain, secret):
            for key, value in values.get(name, {}).items():
                problems.extend(_check_variable(name, key, value, host=host, secret=name == secret))
        both = sorted(set(map(str, values.get(plain, {}))) & set(map(str, values.get(secret, {}))))
        found = f"it in {secret} too"
        problems.extend(Problem(f"{plain}.{key}", found, "it in one of the two", host) for key in both)
    return problems


def _check_variable(name: str, key: Any, value: Any, *, host: str, secret: bool) -> list[Problem]:
    full = f"{name}.{key}"
    if not isinstance(key, str) or not re.fullmatch(VARIABLE, key):
        return [Problem(full, "a name that no shell accepts", "capital letters, digits and _", host)]
    if key.startswith("SLIPWAY_") or key in RESERVED:
        return [Problem(full, "a name that is reserved", "another name: the processes are given this one", host)]
    if isinstance(value, bool):
        return [Problem(full, "true or false", "the text that the application reads, in quotes: 'True', '1', ''", host)]
    if secret or not isinstance(value, int):
        if not isinstance(value, str):
            return [Problem(full, shown(value, secret=secret), "a text (put it in quotes)", host)]
        if "\0" in value:
            return [Problem(full, "a NUL character", "a text without it", host)]
    if secret:
        return _check_secret(full, value, host=host)
    if isinstance(value, str) and CREDENTIALS.search(value):
        return [Problem(full, "a URL with a password", f"it in {name.replace('environment', 'secrets')}", host)]
    return []


def _check_secret(name: str, value: str, *, host: str) -> list[Problem]:
    if len(value) < SECRET_LENGTH:
        found = f"a secret of {len(value)} characters"
        return [Problem(name, found, f"at least {SECRET_LENGTH}: a shorter one cannot be masked in logs", host)]
    if is_placeholder(value):
        return [Problem(name, "a placeholder", "a real secret", host)]
    return []


def _check_secret_texts(values: Mapping[str, Any], host: str) -> list[Problem]:
    problems = []
    for name in ("webapp_database_password", "webapp_redis_password"):
        value = values.get(name, "")
        if re.search(r"[\s\0]", value):
            problems.append(Problem(name, "white space in a password", "a password without it", host))
        elif value:
            problems.extend(_check_secret(name, value, host=host))
    return problems


def _check_urls(values: Mapping[str, Any], host: str) -> list[Problem]:
    problems = []
    expected = "a URL without it: for Git an SSH key or a credential helper, for a download ~/.netrc on the controller"
    for name in ("webapp_source", "webapp_frontend_source"):
        source = values.get(name, "")
        if CREDENTIALS.search(source):
            problems.append(Problem(name, "a URL with a password", expected, host))
        elif WITH_USER.search(source):
            problems.append(Problem(name, "a URL with a user, which may be a token", expected, host))
    urls = [name for name in ("webapp_database_url", "webapp_redis_url") if is_placeholder(values.get(name, ""))]
    return problems + [Problem(name, "a placeholder", "a real URL", host) for name in urls]
