# SPDX-License-Identifier: GPL-3.0-or-later
"""What a migration is to every part of this program, whichever tool wrote it."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


class Phase(enum.Enum):
    """When something may run. NEUTRAL changes nothing in the database, so it decides nothing."""

    NEUTRAL = "neutral"
    BEFORE = "before"
    AFTER = "after"
    UNSAFE = "unsafe"


# https://www.postgresql.org/docs/current/explicit-locking.html, weakest first.
LOCKS = (
    "none",
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
FIRST_BLOCKING = LOCKS.index("SHARE")  # from here on writers wait


def blocks_writers(lock: str) -> bool:
    """Whether users who write have to wait while ``lock`` is held."""
    return LOCKS.index(lock) >= FIRST_BLOCKING


@dataclasses.dataclass(frozen=True)
class Created:
    """An object that exists once its migration ran; names are canonical (see statements.canonical)."""

    kind: str  # table, column, index, constraint
    table: str
    name: str
    if_absent: bool = False  # IF NOT EXISTS: who made it is not known


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something an operator should know; ``code`` in advice.py says what and how to do it safely."""

    code: str
    message: str
    advice: str
    source: str = "slipway"


@dataclasses.dataclass(frozen=True)
class Effect:
    """What one statement or one step of it does to the database. ``code`` names the risk in advice.py."""

    kind: str
    describes: str
    table: str = ""
    lock: str = "none"
    rewrites: bool = False
    scans: bool = False
    phase: Phase = Phase.BEFORE
    old_code_ok: bool = True
    reversible: bool = True
    code: str = ""
    column: str = ""
    new_type: str = ""
    renamed_to: str = ""  # the table's new name
    creates: tuple[Created, ...] = ()


@dataclasses.dataclass
class Operation:
    """One step as people know it: a Django operation, or a statement of Alembic's; ``effects`` are its statements."""

    kind: str
    describes: str
    effects: list[Effect] = dataclasses.field(default_factory=list)
    reversible: bool = True
    codes: list[str] = dataclasses.field(default_factory=list)  # risks that the SQL does not show
    from_sql: bool = False  # SQL that people wrote: squawk has a say
    # Filled in by classify.judge:
    phase: Phase = Phase.NEUTRAL
    table: str = ""
    rows: int = 0
    lock: str = "none"
    rewrites: bool = False
    scans: bool = False
    old_code_ok: bool = True
    problems: list[Problem] = dataclasses.field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The operation as the plan prints it."""
        names = ("kind", "describes", "table", "rows", "lock", "rewrites", "scans", "old_code_ok", "reversible")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass
class Migration:
    """A pending migration. ``parents`` are the pending migrations that must run before it."""

    id: str
    app: str
    name: str
    atomic: bool
    marker: str = ""  # '', before_deploy, after_deploy, always
    parents: tuple[str, ...] = ()
    operations: list[Operation] = dataclasses.field(default_factory=list)
    sql: str = ""
    phase: Phase = Phase.BEFORE
    accepted: bool = False
    accepted_as: Phase = Phase.BEFORE
    problems: list[Problem] = dataclasses.field(default_factory=list)

    @property
    def effective(self) -> Phase:
        """When it runs; what is accepted by name runs before the switch, unless only the new code can bear it."""
        return self.accepted_as if self.accepted else self.phase

    @property
    def old_code_ok(self) -> bool:
        """Whether the running code can work after it. A marker is the author's word, and counts for more."""
        if self.marker == "after_deploy":
            return False
        return self.marker in ("before_deploy", "always") or all(each.old_code_ok for each in self.operations)

    @property
    def patient(self) -> bool:
        """Whether it may wait long for its locks: nobody who reads or writes queues behind CREATE INDEX CONCURRENTLY.

        It waits for every older transaction, and a lock timeout in the middle would leave an INVALID index.
        """
        effects = [effect for operation in self.operations for effect in operation.effects]
        known = all(operation.effects or not operation.codes for operation in self.operations)
        return not self.atomic and known and all(effect.lock == "SHARE UPDATE EXCLUSIVE" for effect in effects)
