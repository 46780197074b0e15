# SPDX-License-Identifier: GPL-3.0-or-later
"""Child processes: as another user where told, never outliving this program, within a time limit, out of the way.

setpriv(1) ties each child to the thread that starts it (prctl(2), PR_SET_PDEATHSIG): when that thread ends, killed or
not, the child ends too. So a child is started by the thread that waits for it, and a server by the main thread.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from .errors import BackupError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The application's requests come first: our work takes what they leave.
_POLITE = ("nice", "-n", "19", "ionice", "-c", "3")
_LONGEST_MESSAGE = 4000  # characters of what a child said on standard error


class Deadline:
    """The time limit of a whole run, in seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the limit; raises BackupError time_limit when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> BackupError:
        """The error for a limit that was reached."""
        return BackupError(
            "time_limit",
            "The time limit was reached, so the work was ended and cleaned up",
            found=f"not done after {self._seconds:g} s",
            expected="an end before that",
            next_step="raise the limit `seconds`, lower the level, or look what slows this host down",
        )


@dataclass(frozen=True)
class Account:
    """A system user that children run as; ``name`` '' is the one that we are. ``groups`` are more: names or numbers."""

    name: str = ""
    groups: tuple[str, ...] = ()

    @property
    def entry(self) -> pwd.struct_passwd:
        """The user's line of passwd(5); raises BackupError unknown_user."""
        try:
            return pwd.getpwnam(self.name) if self.name else pwd.getpwuid(os.geteuid())
        except KeyError as error:
            raise BackupError(
                "unknown_user", f"There is no system user {self.name!r}", next_step="create it (role backup does)"
            ) from error

    @property
    def other(self) -> bool:
        """Whether it is another user than the one that we are."""
        return self.entry.pw_uid != os.geteuid()

    def prefix(self) -> list[str]:
        """Arguments of setpriv(1) that change to this user."""
        if not self.other:
            return []
        entry = self.entry
        gids = {entry.pw_gid, *(group_id(name) for name in self.groups)}
        gids.update(os.getgrouplist(entry.pw_name, entry.pw_gid))
        groups = ",".join(str(gid) for gid in sorted(gids))
        return [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", f"--groups={groups}", "--no-new-privs"]


def group_id(name: str) -> int:
    """The number of a group, of which a name may not be known here; raises BackupError unknown_group."""
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise BackupError(
            "unknown_group", f"There is no group {name!r}", next_step="create it (role backup does)"
        ) from error


@dataclass(frozen=True)
class Command:
    """What to start. ``environment`` is all that the child sees besides PATH, HOME and LC_ALL."""

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    account: Account = field(default_factory=Account)
    polite: bool = False
    death_signal: str = "KILL"
    cwd: str = "/"
    no_network: bool = False

    @property
    def name(self) -> str:
        """The program's name, for messages."""
        return os.path.basename(self.argv[0])

    def line(self) -> list[str]:
        """The complete command line."""
        network = ["unshare", "--net", "--"] if self.no_network else []
        polite = list(_POLITE) if self.polite else []
        tied = ["setpriv", f"--pdeathsig={self.death_signal}", *self.account.prefix(), "--"]
        return [*network, *polite, *tied, *self.argv]


def start(
    command: Command, *, stdin: int | IO[bytes], stdout: int | IO[bytes], stderr: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own; the caller waits for it and ends it (see ``ended``)."""
    environment = {"PATH": PATH, "HOME": command.account.entry.pw_dir, "LC_ALL": "C.UTF-8", **command.environment}
    try:
        return subprocess.Popen(
            command.line(),
            env=environment,
            cwd=command.cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        raise BackupError(
            "cannot_start",
            f"{command.name} could not be started",
            found=error.strerror or str(error),
            next_step="install the program, or make it executable",
        ) from error


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill a child and what it started, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class Running:
    """A child whose words on standard error are kept in a file, so that a full pipe never stops it."""

    def __init__(
        self,
        command: Command,
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
    ) -> None:
        self.command = command
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self.child = start(command, stdin=stdin, stdout=stdout, stderr=self._words)
        except BaseException:
            self._words.close()
            raise

    def wait(self, deadline: Deadline) -> int:
        """The exit code; raises BackupError time_limit after killing the child."""
        try:
            return self.child.wait(timeout=deadline.left())
        except subprocess.TimeoutExpired as error:
            self.close()
            raise deadline.passed() from error

    def words(self) -> str:
        """The end of what the child said on standard error."""
        size = os.fstat(self._words.fileno()).st_size
        start_at = max(0, size - _LONGEST_MESSAGE)
        return os.pread(self._words.fileno(), _LONGEST_MESSAGE, start_at).decode(errors="replace").strip()

    def require_success(self, deadline: Deadline, code: str, summary: str, *, next_step: str = "") -> None:
        """Wait; raises BackupError ``code`` with the child's own words when it failed."""
        status = self.wait(deadline)
        if status:
            raise self.failure(status, code, summary, next_step=next_step)

    def failure(self, status: int, code: str, summary: str, *, next_step: str = "") -> BackupError:
        """The error for a child that ended with ``status``."""
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
        said = self.words() or "no message"
        return BackupError(
            code, summary, found=f"{self.command.name}: {how}: {said}", expected="exit code 0", next_step=next_step
        )

    def close(self) -> None:
        """End the child if it still runs."""
        end(self.child)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._words.close()


def output(command: Command, deadline: Deadline, *, code: str, summary: str) -> str:
    """Standard output of a child that ends soon and says little; raises BackupError ``code``."""
    with tempfile.TemporaryFile() as out, Running(command, stdout=out) as running:
        running.require_success(deadline, code, summary)
        out.seek(0)
        return out.read().decode(errors="replace")


@contextlib.contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Be another user for the kernel while connecting: peer authentication looks at the effective user.

    It changes the whole process, so no other thread may be at work meanwhile.
    """
    if not account.other:
        yield
        return
    before = os.geteuid()
    os.seteuid(account.entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(before)
