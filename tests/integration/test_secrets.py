# SPDX-License-Identifier: GPL-3.0-or-later
"""Planted secrets are searched for everywhere after runs at the highest verbosity, good and bad ones."""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
import shlex
import tarfile
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.controller import Run
from tests.integration.host import Host
from tests.integration.site import Site

APP = "keeper"
FAILED_HOSTS = 2
PLACES = "/boot /etc /home /opt /root /run /srv /tmp /usr/lib/slipway /usr/local /var"
# What the application itself says when it is badly written: the collection must not repeat it.
TELLS_ALL = """
import sys as _sys
if "manage.py" in _sys.argv[0] or "-c" in _sys.argv[0]:
    raise RuntimeError(f"planted: {SECRET_KEY} {os.environ['PAYMENT_TOKEN']} {os.environ['DATABASE_URL']}")
"""


def forms(secret: str) -> set[str]:
    """A secret as it may be written: as it is, in a URL, in base64, and wrapped for base64 of a text around it."""
    encoded = {base64.b64encode((" " * pad + secret).encode()).decode()[4:-4] for pad in range(3)}
    return {secret, urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1], *encoded}


@contextmanager
def watching(host: Host) -> Iterator[list[str]]:
    """Collects the command lines of all processes of the host while the block runs."""
    seen: list[str] = []
    stop = f"/var/tmp/watch-{secrets.token_hex(4)}"
    watcher = threading.Thread(target=lambda: seen.extend(host.python("watch_host.py", stop)))
    watcher.start()
    try:
        yield seen
    finally:
        host.sh(f"touch {stop}")
        watcher.join()
        host.sh(f"rm -f {stop}")


def places_with(host: Host, words: set[str]) -> list[str]:
    """The files of the host that hold one of the words, and 'journal' if it does."""
    patterns = " ".join(f"-e {shlex.quote(word)}" for word in sorted(words))
    found = host.sh(f"grep -rlaFs {patterns} {PLACES} --exclude-dir=slipway-dev || true").splitlines()
    # Long messages are compressed in the journal's files.
    count = int(host.sh(f"journalctl --output=export --no-pager | grep -caF {patterns} || true"))
    return sorted(found) + ([f"journal ({count} lines)"] if count else [])


def leaks_in(directory: Path, words: set[str]) -> list[str]:
    """The files below a directory that hold one of the words, inside of archives too."""
    found = []
    for path in (one for one in directory.rglob("*") if one.is_file()):
        texts = [path.read_bytes()]
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as archive:
                texts += [part.read() for part in map(archive.extractfile, archive.getmembers()) if part]
        if any(word.encode() in text for word in words for text in texts):
            found.append(str(path))
    return found


def planted_values() -> dict[str, str]:
    """Secrets of several kinds, with characters that files and URLs write differently."""
    return {
        "SECRET_KEY": f"k3y-{secrets.token_hex(30)}",
        "PAYMENT_TOKEN": f"p%y $'{secrets.token_hex(8)}\"\\=#ä",
        "database": f"d4ta+{secrets.token_hex(10)}",
        "build": f"bu1ld-{secrets.token_hex(10)}",
    }


def make_database(host: Host, *, password: str) -> None:
    """A database that is reached with a password, as a managed one is."""
    # By standard input: what stands in the arguments of runuser ends in the journal.
    host.sh(
        f"""runuser -u postgres -- psql -d postgres -v ON_ERROR_STOP=1 <<'END'
DROP DATABASE IF EXISTS {APP} WITH (FORCE);
DROP ROLE IF EXISTS {APP};
CREATE ROLE {APP} LOGIN PASSWORD '{password}';
CREATE DATABASE {APP} OWNER {APP};
END"""
    )


@pytest.fixture
def keeper(board: Site, staging_site: MakeSite) -> tuple[Site, dict[str, str]]:
    """A further application on the host, with secrets of every kind."""
    values = planted_values()
    make_database(board.host, password=values["database"])
    site = staging_site(
        APP,
        webapp_secrets={name: values[name] for name in ("SECRET_KEY", "PAYMENT_TOKEN")},
        webapp_database_url=f"postgres://{APP}:{urllib.parse.quote(values['database'])}@127.0.0.1:5432/{APP}",
        webapp_build_secrets={"PIP_PASSWORD": values["build"]},
    )
    temporary = site.directory / "ansible"
    temporary.mkdir()
    controller = dataclasses.replace(site.controller, settings={"ANSIBLE_LOCAL_TEMP": str(temporary)})
    return dataclasses.replace(site, controller=controller), values


def failed(site: Site, source: Path, *arguments: str, **settings: Any) -> Run:
    """Deploy a source that is bad; the application says so in its own words, with a traceback."""
    run = site.play("deploy", *arguments, webapp_source=str(source), **settings)
    assert run.code == FAILED_HOSTS, run.output[-6000:]
    return run


def story(site: Site) -> dict[str, Any]:
    """Good and bad runs, all of them as talkative as can be; their outputs by name."""
    talkative = ("-vvvv", "--diff")
    outputs = {"provision": site.play("provision", *talkative).ended(0).output}
    outputs["deploy"] = site.deploy(site.sources.tree(), *talkative).output
    first = site.live()
    outputs["deploy again"] = site.deploy(site.sources.tree(release=2), *talkative).output
    outputs["check"] = site.deploy(site.sources.tree(release=3), *talkative, "--check").output
    ill = site.sources.tree(fault="health-500")
    outputs["not healthy"] = failed(site, ill, *talkative, webapp_health_deadline=5).output
    telling = site.sources.tree()
    with (telling / "board" / "settings.py").open("a") as stream:
        stream.write(TELLS_ALL)
    outputs["tells all"] = failed(site, telling, *talkative).output
    assert "planted: " in outputs["tells all"], outputs["tells all"][-6000:]
    outputs["rollback"] = site.play("rollback", *talkative).ended(0).output
    assert site.live().release == first.release
    return outputs


def test_secrets_are_nowhere_but_in_their_files(
    keeper: tuple[Site, Mapping[str, str]], tell: Callable[[str], None]
) -> None:
    site, values = keeper
    words = set().union(*(forms(value) for value in values.values()))
    markers = {name: f"marker-{secrets.token_hex(8)}" for name in ("argv", "file", "journal")}
    with watching(site.host) as commands:
        outputs = story(site)
        site.host.sh(f"sh -c 'sleep 0.5; : {markers['argv']}'")
    # Were the searches able to find anything?
    assert any(markers["argv"] in command for command in commands), f"{len(commands)} command lines"
    site.host.sh(f"echo {markers['file']} >/var/tmp/marker; logger {markers['journal']}; journalctl --sync")
    assert "/var/tmp/marker" in places_with(site.host, {markers["file"]})
    assert any(place.startswith("journal") for place in places_with(site.host, {markers["journal"]}))
    site.host.sh("rm /var/tmp/marker")

    said = {name: [word for word in words if word in text] for name, text in outputs.items()}
    assert not any(said.values()), {name: len(found) for name, found in said.items() if found}
    assert [command for command in commands if any(word in command for word in words)] == []
    places = places_with(site.host, words)
    allowed = [place for place in places if place.startswith((f"/etc/{APP}/environments/", f"/etc/{APP}/slots/"))]
    timers = f"/etc/{APP}/backup.json"  # what the timers ask, read by root alone
    assert len(allowed) >= 2, places
    assert sorted(set(places) - set(allowed)) == [timers]
    assert site.host.sh(f"stat -c '%a %U:%G' {timers}").strip() == "600 root:root"
    modes = set(site.host.sh(f"stat -c '%a %U:%G' {' '.join(allowed)}").split("\n")) - {""}
    assert modes == {f"640 root:{APP}"}, modes
    kept = [path for path in leaks_in(site.directory, words) if "/inventory/" not in path]
    assert kept == []
    size = sum(len(text) for text in outputs.values())
    tell(
        f"{len(words)} forms of {len(values)} secrets: not in {size} characters of {len(outputs)} outputs, not in"
        f" {len(commands)} command lines, on the host in {len(allowed) + 1} files of /etc/{APP} only"
    )
