# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real host behind the ports, and the one edge at which domain errors become module failures."""

from __future__ import annotations

import datetime
import grp
import os
import pwd
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Protocol

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed

CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What the application and Nginx shall read they can read, however closed the login is (UMASK in /etc/login.defs): what
# nobody else may read is made with a mode of its own. Programs that a module runs have it from the module.
UMASK = 0o022
TIMED_OUT = (124, 137, -9)  # what timeout(1) answers; the last two when the program had to be killed


class Module(Protocol):
    """The little of AnsibleModule that this file uses."""

    check_mode: bool
    _diff: bool

    def run_command(self, args: list[str], **options: Any) -> tuple[int, str, str]: ...

    def fail_json(self, msg: str, **result: Any) -> Any: ...

    def exit_json(self, **result: Any) -> Any: ...

    def warn(self, warning: str) -> None: ...


# A program dies with the one that started it: a killed build leaves nothing behind that still writes.
_TIED = ("setpriv", "--pdeathsig", "KILL", "--")


def _entry_of(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise SlipwayError(
            f"There is no user {user} on this host", next_step="run provision.yml for this host first"
        ) from None


def home_of(user: str) -> str:
    """A system user's home directory."""
    return _entry_of(user).pw_dir


def ids_of(user: str) -> tuple[int, int]:
    """The numbers of a system user and of its group."""
    entry = _entry_of(user)
    return entry.pw_uid, entry.pw_gid


def system_group(name: str) -> int:
    """The number of a system group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise SlipwayError(
            f"There is no group {name} on this host", next_step="run provision.yml for this host first"
        ) from None


def _as_user(user: str, *, inherited: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """The words before a command that make it run as ``user``, without root's environment and privileges.

    `env --ignore-environment` would need the values in argv, where everybody can read them; unsetting names does not.
    """
    unset = [f"--unset={name}" for name in sorted(inherited) if name not in given]
    privileges = ["--reuid", user, "--regid", user, "--init-groups", "--no-new-privs", "--pdeathsig", "KILL", "--"]
    return [*(["env", *unset] if unset else []), "setpriv", *privileges]


class HostRunner:
    """Runs programs by AnsibleModule.run_command."""

    def __init__(self, module: Module) -> None:
        self._module = module

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        cwd: str = "",
        timeout: float = 0.0,
        stdin: str = "",
    ) -> Completed:
        argv = list(command)
        given = {"PATH": CLEAN_PATH, "LC_ALL": "C.UTF-8", **(environment or {})}
        if user:
            given = {"HOME": home_of(user), "USER": user, "LOGNAME": user, **given}
            argv = [*_as_user(user, inherited=os.environ, given=given), *argv]
        if timeout:
            argv = [*_TIED, "timeout", "--kill-after=5", f"{timeout:g}", *argv]
        code, stdout, stderr = self._module.run_command(
            argv,
            environ_update=given,
            data=stdin or None,
            binary_data=True,  # no newline is added
            cwd=cwd or None,
            handle_exceptions=True,
            ignore_invalid_cwd=False,
            expand_user_and_vars=False,  # a `$` or `~` in an argument is meant as it is
        )
        return Completed(code=code, stdout=stdout, stderr=stderr, timed_out=bool(timeout) and code in TIMED_OUT)


class HostClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def iso_time(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the second."""
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def guarded(module: Module, work: Callable[[], dict[str, Any]], *, umask: int | None = UMASK) -> None:
    """Do a module's work: its result by exit_json, the domain's refusals and the system's errors by fail_json.

    What a result has as ``warnings`` is said as Ansible wants it said. Without ``umask`` the login's own one holds.
    """
    if umask is not None:
        os.umask(umask)
    try:
        result = work()
    except SlipwayError as error:
        module.fail_json(msg=str(error), **error.details)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        module.fail_json(msg=f"The host refused a file operation: {error.strerror or error}{where}")
    else:
        for warning in result.pop("warnings", ()):
            module.warn(warning)
        module.exit_json(**result)
