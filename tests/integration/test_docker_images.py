# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of several kinds, and what a scanner makes of one: stand-ins for Trivy, and the real pip-audit.

The weaknesses that pip-audit asks about are told by a service on the host: the one it would ask is not in tests' reach.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.controller import Run
from tests.integration.registry import BASE, PASSWORD, USER
from tests.integration.site import Site
from tests.integration.test_docker import APP, crate

__all__ = ["crate"]  # a fixture
pytestmark = pytest.mark.long
TRIVY = "/usr/local/bin/trivy"
AUDIT = "/usr/local/bin/pip-audit"
WEAK = {
    "VulnerabilityID": "CVE-2099-1",
    "PkgName": "openssl",
    "InstalledVersion": "3.0",
    "FixedVersion": "3.1",
    "Severity": "HIGH",
}
REPORT = {
    "SchemaVersion": 2,
    "ArtifactType": "container_image",
    "Metadata": {"OS": {"Family": "debian", "Name": "12.9"}},
    "Results": [{"Target": "x (debian 12.9)", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": [WEAK]}],
}
ACCEPTED = {"id": "CVE-2099-1", "until": "2099-12-31", "why": "planted"}
# An answer of the kind of OSV for Django, and for nothing else.
SERVICE = """
import http.server, json
RANGE = {"type": "ECOSYSTEM", "events": [{"fixed": "99.1"}]}
DJANGO = {"package": {"name": "django", "ecosystem": "PyPI"}, "ranges": [RANGE]}
VULN = {"id": "PYSEC-2099-1", "aliases": ["CVE-2099-2"], "summary": "planted", "affected": [DJANGO]}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"vulns": [VULN]} if asked["package"]["name"] == "django" else {}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", 8125), Handler).serve_forever()
"""


# As teams have it: other directories, root, a user's entry point, a health check that knows a port.
OWN = f"""FROM {BASE}
RUN python3 -m venv /opt/board
COPY requirements.txt /opt/
RUN /opt/board/bin/pip install --no-cache-dir --disable-pip-version-check -r /opt/requirements.txt
COPY . /srv/board
WORKDIR /srv/board
ENV PATH=/opt/board/bin:/usr/bin:/bin
HEALTHCHECK --interval=1s --retries=1 CMD false
ENTRYPOINT ["false"]
"""
PROJECT = """[project]
name = "board"
version = "1"
requires-python = ">=3.11"
dependencies = [WANTED]
"""
UV = "/opt/uv/bin/uv"


def stand_in(site: Site, script: str) -> None:
    """A program of Trivy's name; it leaves its words in /tmp/trivy-asked."""
    site.host.sh(f"cat >{TRIVY} <<'END'\n#!/bin/sh\necho \"$@\" >/tmp/trivy-asked\n{script}\nEND\nchmod 755 {TRIVY}")


def says(report: Any) -> str:
    return f"cat <<'REPORT'\n{json.dumps(report)}\nREPORT"


def build(site: Site, tree: Path, version: str, **settings: Any) -> Run:
    return site.play("build", webapp_image_source=str(tree), webapp_version=version, **settings)


def tags(site: Site) -> list[str]:
    """What the registry has."""
    answer = site.host.sh(f"curl -s -u {USER}:{PASSWORD} http://127.0.0.1:5000/v2/{APP}/tags/list")
    return json.loads(answer).get("tags") or []


@pytest.fixture(scope="module")
def tree(crate: Site) -> Path:
    crate.host.sh("command -v curl >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get -qq install -y curl >/dev/null")
    return crate.sources.tree(release=1)


@pytest.mark.parametrize(
    ("number", "script", "settings", "said"),
    [
        (1, says(REPORT), {}, "CVE-2099-1 in openssl (mended in 3.1)"),
        (2, says(REPORT), {"webapp_image_scan_except": [{**ACCEPTED, "until": "2020-01-01"}]}, "ended on 2020-01-01"),
        (3, says({**REPORT, "Results": []}), {}, "it saw no package in the image"),
        (4, "echo no report", {}, "cannot be read"),
        (5, f"{says(REPORT)}\necho the database is not in reach >&2; exit 1", {}, "the database is not in reach"),
        (6, "sleep 60", {"webapp_image_scan_timeout": 2}, "took longer than 2 s"),
        (7, "", {}, "is not on the host that builds"),
    ],
    ids=["a finding", "an exception that ended", "no packages", "nonsense", "it fails", "it hangs", "it is missing"],
)
def test_an_image_that_may_not_be_pushed(
    crate: Site, tree: Path, number: int, script: str, settings: dict[str, Any], said: str
) -> None:
    stand_in(crate, script)
    if not script:
        crate.host.sh(f"rm {TRIVY}")
    run = build(crate, tree, f"refused.{number}", webapp_image_scanner="trivy", **settings).refused()
    assert said in run.said, run.output[-4000:]
    assert f"refused.{number}" not in tags(crate)


def test_an_image_that_may_be_pushed(crate: Site, tree: Path, tmp_path: Path) -> None:
    stand_in(crate, says(REPORT))
    report = tmp_path / "scan.json"
    given = {"webapp_image_scanner": "trivy", "scan_output": str(report)}
    run = build(crate, tree, "good.1", webapp_image_scan_except=[ACCEPTED], **given).ended(0)
    assert "good.1" in tags(crate)
    assert "until 2099-12-31: planted" in run.said
    found = json.loads(report.read_text())
    assert (found["passed"], found["counts"]["excepted"]) == (True, 1)
    asked = crate.host.sh("cat /tmp/trivy-asked").split()
    assert asked[0] == "image"
    assert f"/{APP}:good.1" in asked[-1]
    build(crate, tree, "good.2", webapp_image_scan_severity="critical", **given).ended(0)
    build(crate, tree, "bad.1", **given).refused()
    assert json.loads(report.read_text())["passed"] is False
    own = {"webapp_image_scanner": "command", "webapp_image_scan_command": ["sh", "-c", "echo '{\"findings\": []}'"]}
    build(crate, tree, "good.3", **own).ended(0)
    assert {"good.1", "good.2", "good.3"} <= set(tags(crate))
    assert "bad.1" not in tags(crate)


def test_the_real_pip_audit(crate: Site, tree: Path, tell: Callable[[str], None]) -> None:
    crate.host.sh(
        f"test -x {AUDIT} || {{ python3 -m venv /opt/pip-audit && /opt/pip-audit/bin/pip -q install pip-audit"
        f" && ln -s /opt/pip-audit/bin/pip-audit {AUDIT}; }} 2>/dev/null"
    )
    crate.host.sh(
        f"cat >/tmp/service.py <<'END'\n{SERVICE}\nEND\nsystemd-run --quiet --unit=weaknesses python3 /tmp/service.py"
    )
    given = {"webapp_image_scanner": "pip-audit"}
    told = {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": "http://127.0.0.1:8125/"}
    nobody = {**told, "PIP_AUDIT_OSV_URL": "http://127.0.0.1:8126/"}
    try:
        run = build(crate, tree, "audit.1", webapp_image_scan_environment=told, **given).refused()
        assert "PYSEC-2099-1 in django (mended in 99.1)" in run.said, run.output[-4000:]
        accepted = [{"id": "CVE-2099-2", "package": "django", "until": "2099-12-31", "why": "planted"}]
        build(
            crate, tree, "audit.2", webapp_image_scan_environment=told, webapp_image_scan_except=accepted, **given
        ).ended(0)
        silent = build(crate, tree, "audit.3", webapp_image_scan_environment=nobody, **given).refused()
    finally:
        crate.host.sh("systemctl stop weaknesses")
    assert "so nothing is known of" in silent.said, silent.output[-4000:]
    assert {"audit.1", "audit.3"} & set(tags(crate)) == set()
    assert "audit.2" in tags(crate)
    tell(crate.host.sh(f"{AUDIT} --version").strip())


def build_and_deploy(site: Site, tree: Path, *, version: str) -> None:
    """Build it, deploy it, and ask what it serves."""
    output = site.directory / "image.json"
    build(site, tree, version, output=str(output)).ended(0)
    site.play("deploy", webapp_source=json.loads(output.read_text())["image"]).ended(0)
    live = site.live()
    told = json.loads(site.host.sh(f"docker inspect {APP}-web-{live.slot}"))[0]
    assert told["Config"]["Image"] == json.loads(output.read_text())["image"]
    assert site.ask("/health").json()["release"] == live.release


def test_an_application_with_a_dockerfile_of_its_own(crate: Site) -> None:
    tree = crate.sources.tree(release=1)
    (tree / "Dockerfile").write_text(OWN)
    build_and_deploy(crate, tree, version="own.1")
    assert crate.host.sh(f"docker exec {APP}-web-{crate.live().slot} pwd").strip() == "/srv/board"


def test_an_application_that_uv_locks(crate: Site) -> None:
    crate.host.sh(f"test -x {UV} || {{ python3 -m venv /opt/uv && /opt/uv/bin/pip -q install uv; }} 2>/dev/null")
    tree = crate.sources.tree(release=2)
    wanted = [line.split()[0] for line in (tree / "requirements.in").read_text().splitlines() if line[:1].isalpha()]
    (tree / "requirements.txt").unlink()
    (tree / "pyproject.toml").write_text(PROJECT.replace("WANTED", ", ".join(json.dumps(word) for word in wanted)))
    project = (tree / "pyproject.toml").read_text()
    here = f"rm -rf /tmp/locked && mkdir /tmp/locked && cd /tmp/locked && cat >pyproject.toml <<'END'\n{project}\nEND"
    crate.host.sh(f"{here}\n{UV} lock --quiet")
    (tree / "uv.lock").write_text(crate.host.sh("cat /tmp/locked/uv.lock"))
    build_and_deploy(crate, tree, version="locked.1")
    (tree / "uv.lock").write_text("")
    build(crate, tree, "locked.2").refused()
