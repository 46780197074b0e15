# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests of the programs that back up, restore and migrate, with the distribution's Python, psycopg and PostgreSQL.

They are in tests/database, and run on test hosts: PostgreSQL 15 on Debian 12, and the newest that Debian 13 has.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.hosts import engine
from tests.integration.conftest import fleet_of
from tests.integration.host import Host

ROOT = Path(__file__).resolve().parents[2]
PLACE = "/opt/slipway-tests"
SOURCES = ("tests/database", "roles/backup/files", "roles/migrations/files")
PACKAGES = (
    *("postgresql", "python3-psycopg", "python3-pytest", "python3-pytest-xdist", "python3-venv", "python3-pip"),
    *("openssl", "age", "gnupg", "rclone", "restic", "procps", "util-linux", "pgbouncer"),
)
# What a release has in its own environment; tests/app/base/requirements.in says the same.
RELEASE = (
    "Django>=5.2,<5.3",
    "psycopg[binary]>=3.2,<4",
    "psycopg2-binary>=2.9,<3",
    "alembic>=1.13,<2",
    "sqlalchemy>=2",
    "squawk-cli==2.70.0",
)
S3_SERVER = "moto[server]>=5,<6"
COUNTS = re.compile(r"^=* ?(?P<line>.*\d+ passed.*?) ?=*$", re.MULTILINE)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Mapping[str, Host]]:
    yield from fleet_of("database")


def packed() -> bytes:
    """The programs and their tests as a tar file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for source in SOURCES:
            for path in sorted((ROOT / source).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    archive.add(path, arcname=str(path.relative_to(ROOT)))
    return stream.getvalue()


def equip(host: Host) -> None:
    """Packages, the programs, their tests, and an environment such as a release has."""
    apt = "DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
    host.sh(f"{apt} update && {apt} install -y --no-install-recommends {' '.join(PACKAGES)} && mkdir -p {PLACE}")
    words = " ".join(f"'{word}'" for word in RELEASE)
    pip = "pip install -q --disable-pip-version-check"
    host.sh(f"python3 -m venv {PLACE}/venv && {PLACE}/venv/bin/{pip} {words}")
    # In a place of its own: what is tested are the distribution's packages.
    host.sh(f"{PLACE}/venv/bin/{pip} --target {PLACE}/s3 '{S3_SERVER}'")
    engine.require().containers.get(host.container).put_archive(PLACE, packed())


@pytest.mark.hosts
@pytest.mark.parametrize("name", [pytest.param("database12", marks=pytest.mark.long), "database13"])
def test_on_the_distributions_own(name: str, hosts: Mapping[str, Host], tell: Callable[[str], None]) -> None:
    host = hosts[name]
    equip(host)
    code, output = host.try_sh(
        f"cd {PLACE} && PYTHONPATH={PLACE}:{PLACE}/s3 SLIPWAY_DJANGO_PYTHON={PLACE}/venv/bin/python"
        " python3 -m pytest -q -rs -n 2 --dist loadfile -p no:cacheprovider --durations=8 --durations-min=4"
        " tests/database 2>&1"
    )
    counts = COUNTS.findall(output)
    tell(f"{host.sh('ls /usr/lib/postgresql').strip()}: {counts[-1] if counts else 'no test ran'}")
    assert code == 0, output[-12000:]
    assert counts, "no test ran"
    assert not [line for line in output.splitlines() if line.startswith("SKIPPED")], output[-4000:]
