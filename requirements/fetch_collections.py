# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack the few Ansible collections that we need, and link this checkout beside them as slipway.webapp.

They come out of the wheel that bundles all of them, from the package index that pip uses: one source for everything,
also where Galaxy is out of reach. Usage: fetch_collections.py DIRECTORY
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
WHEEL = HERE / "collections.txt"
WANTED = (
    "ansible/posix",
    "community/crypto",
    "community/docker",
    "community/library_inventory_filtering_v1",
    "community/postgresql",
)


def _unpack(wheel: Path, target: Path) -> None:
    prefixes = tuple(f"ansible_collections/{name}/" for name in WANTED)
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.startswith(prefixes)]
        archive.extractall(target, members)


def _download(target: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--only-binary=:all:", "--dest", str(target), "--requirement", str(WHEEL)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"error: cannot download what {WHEEL.name} names:\n{done.stderr[-2000:]}")
    return next(target.glob("ansible-*.whl"))


def main(directory: str) -> None:
    """Fill the directory unless it already holds what is wanted."""
    target = Path(directory).resolve()
    content = (WHEEL.read_bytes(), repr(WANTED).encode(), repr(sys.version_info[:2]).encode())
    stamp = hashlib.sha256(b"\0".join(content)).hexdigest()
    stampfile = target / "stamp"
    if not (stampfile.exists() and stampfile.read_text() == stamp):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as download:
            _unpack(_download(Path(download)), target)
        stampfile.write_text(stamp)
    link = target / "ansible_collections" / "slipway" / "webapp"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        # Relative, so that the checkout can be moved.
        link.symlink_to(Path("../../../.."))


if __name__ == "__main__":
    main(sys.argv[1])
