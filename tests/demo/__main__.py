# SPDX-License-Identifier: GPL-3.0-or-later
"""Provision a host, deploy the example application, redeploy and roll back under load, and count the requests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.app.releases import make

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build"
LOGS = BUILD / "demo"
ADDRESS = "10.203.0.10"  # inventories/demo/hosts.yml
DOMAIN = "demo.board.example"
LOAD_SECONDS = 300  # the load ends with the last phase; this only bounds it
READY_SECONDS = 30
TAIL = 40


class DemoError(Exception):
    """A phase ended badly; says which and where its log is."""


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Print one line for a phase: its name when it begins, its time when it ends."""
    print(f"{name:<58}", end="", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - began:6.1f} s", flush=True)


def run(name: str, *command: str) -> str:
    """Run a command with its output in a log; the output, or a failure that shows the log's end."""
    log = LOGS / f"{name}.log"
    with log.open("w", encoding="utf-8") as stream:
        code = subprocess.run(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(encoding="utf-8")
    if code != 0:
        end = "\n".join(text.splitlines()[-TAIL:])
        raise DemoError(f"{' '.join(command)} ended with {code}; the end of {log}:\n{end}")
    return text


def play(name: str, playbook: str, *arguments: str) -> str:
    """Run one playbook of the collection on the demo host."""
    return run(name, "ansible-playbook", f"slipway.webapp.{playbook}", "-l", "demo", *arguments)


def deploy(number: int) -> None:
    """Deploy a release of the example application."""
    tree = BUILD / "app" / str(number)
    shutil.rmtree(tree, ignore_errors=True)
    make(release=number, destination=tree)
    play(f"deploy-{number}", "deploy", "-e", f"webapp_source={tree}")


def _wait_for(ready: Path, generator: subprocess.Popen[bytes]) -> None:
    """Wait until answers flow: a deploy before the first request would prove nothing."""
    for _try in range(READY_SECONDS * 10):
        if ready.exists():
            return
        if generator.poll() is not None:
            break
        time.sleep(0.1)
    raise DemoError(f"the load generator got no answers; see {LOGS / 'load.log'}")


@contextlib.contextmanager
def load() -> Iterator[Path]:
    """Keep the load generator running against the public address; its report is whole when this ends."""
    report, stop, ready = LOGS / "load.json", LOGS / "load.stop", LOGS / "load.ready"
    for path in (report, stop, ready):
        path.unlink(missing_ok=True)
    with (LOGS / "load.log").open("w", encoding="utf-8") as log:
        generator = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "tests.load",
                    "--url",
                    f"https://{ADDRESS}",
                    "--host-header",
                    DOMAIN,
                    "--insecure",
                ),
                *("--seconds", str(LOAD_SECONDS), "--until-file", str(stop), "--report", str(report)),
                *("--ready-file", str(ready), "--verify-posts"),
            ],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_for(ready, generator)
            yield report
        finally:
            stop.touch()
            generator.wait(timeout=LOAD_SECONDS)


def tell(report: Path) -> int:
    """Print what the load saw; the number of failed requests, or 1 when nothing was sent."""
    counts = json.loads(report.read_text(encoding="utf-8"))
    sent, answered, failed = (int(counts[key]) for key in ("sent", "answered", "failed"))
    for switch in counts["switches"]:
        print(f"  after {switch['at']:.1f} s: {switch['before']} -> {switch['after']}, late answers {switch['late']}")
    for example in counts.get("examples", []):
        print(f"  failed: {example}")
    print(f"load: sent={sent} answered={answered} failed={failed}")
    return failed if sent else 1


def main() -> int:
    """The whole demo; 0 when no request failed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    print(f"The first time takes minutes; {LOGS.relative_to(ROOT)}/*.log tell more.", flush=True)
    with phase("bring up a bare host (engine, image, systemd, SSH)"):
        run("host", sys.executable, "-m", "tests.hosts", "up", "demo")
    with phase("provision the host"):
        play("provision", "provision")
    with phase("deploy release 1"):
        deploy(1)
    with load() as report:
        with phase("deploy release 2 under load"):
            deploy(2)
        with phase("roll back to release 1 under load"):
            play("rollback", "rollback")
    with phase("look at it"):
        status = play("status", "status")
    print()
    print(status.strip())
    print()
    print(f"open: https://{DOMAIN}/ on this machine, once `{ADDRESS} {DOMAIN}` stands in its /etc/hosts")
    print(f"      (the certificate is private: curl --insecure --resolve {DOMAIN}:443:{ADDRESS} https://{DOMAIN}/)")
    print(f"logs: {LOGS.relative_to(ROOT)}/")
    return 1 if tell(report) else 0


if __name__ == "__main__":
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    os.environ.setdefault("ANSIBLE_COLLECTIONS_PATH", str(BUILD / "collections"))
    try:
        sys.exit(main())
    except DemoError as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(1)
