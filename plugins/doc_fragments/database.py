# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation of every module that reaches an application's database has in common."""

from __future__ import annotations


class ModuleDocFragment:
    """``slipway.webapp.database`` is the option; ``.release`` and ``.migrations`` say what migrates, and how."""

    DOCUMENTATION = r"""
---
options:
  database:
    description: How the database is reached, and where its backups are.
    type: dict
    required: true
    suboptions:
      database_url:
        description: A URL as libpq reads it.
        type: str
        required: true
      database_user:
        description: The system user who connects, where the server goes by it (peer authentication). Empty is root.
        type: str
        default: ''
      scratch_user:
        description: The system user who runs the throwaway server. Empty is root's own, which PostgreSQL refuses.
        type: str
        default: ''
      group:
        description: The group that may read the files of a backup while it is restored.
        type: str
        default: ''
      directory:
        description: The catalogue of backups.
        type: str
        required: true
      scratch_directory:
        description: Where throwaway servers are made.
        type: str
        default: ''
"""

    RELEASE = r"""
---
options:
  release:
    description: The release whose migrations they are.
    type: str
    required: true
  environment:
    description: The environment variables of the release that are not secret.
    type: dict
    required: true
  secrets:
    description: The environment variables of the release that are secret.
    type: dict
    default: {}
"""

    MIGRATIONS = r"""
---
options:
  migrations:
    description: What migrates, and how carefully.
    type: dict
    default: {}
    suboptions:
      adapter:
        description: What knows the schema.
        type: str
        default: django
        choices: [django, alembic, command]
      accept:
        description: The ids of migrations that may run although they are unsafe.
        type: list
        elements: str
        default: []
      lock_timeout:
        description: Seconds that a migration waits for a lock before it steps aside.
        type: float
        default: 0.5
      lock_budget:
        description: Seconds in which it tries again.
        type: int
        default: 120
      statement_timeout:
        description: Seconds that one statement may take.
        type: int
        default: 900
      small_table_rows:
        description: Rows up to which a table is rewritten or scanned without anybody noticing.
        type: int
        default: 10000
      alembic_config:
        description: Alembic's configuration, inside the source.
        type: str
        default: alembic.ini
      command:
        description: The command that migrates, for the adapter V(command).
        type: list
        elements: str
        default: []
      pending_command:
        description: The command that prints a line for each pending migration, for the adapter V(command).
        type: list
        elements: str
        default: []
"""
