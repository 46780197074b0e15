# SPDX-License-Identifier: GPL-3.0-or-later
"""One server for all tests, a database and a project for each."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .project import PROGRAM, Project
from .server import Server

sys.path.insert(0, str(PROGRAM.parent))


@pytest.fixture(scope="session")
def django_python() -> str:
    """A Python with Django, psycopg, psycopg2, Alembic and SQLAlchemy, as a release has one."""
    python = os.environ.get("SLIPWAY_DJANGO_PYTHON", "")
    if not os.access(python, os.X_OK):
        pytest.fail("set SLIPWAY_DJANGO_PYTHON to a Python that has Django, psycopg, psycopg2, alembic, sqlalchemy")
    return python


@pytest.fixture(scope="session")
def squawk(django_python: str) -> str:
    """squawk, from the same environment."""
    program = os.path.join(os.path.dirname(django_python), "squawk")
    if not os.access(program, os.X_OK):
        pytest.fail(f"there is no {program}: install squawk-cli beside Django")
    return program


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server."""
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def project(tmp_path: Path, server: Server, django_python: str) -> Iterator[Project]:
    """A project whose database is empty."""
    database = f"shop_{uuid.uuid4().hex[:8]}"
    server.sql("postgres", f"CREATE DATABASE {database}")
    yield Project(tmp_path, server, database, django_python)
    server.sql("postgres", f"DROP DATABASE {database} WITH (FORCE)")
