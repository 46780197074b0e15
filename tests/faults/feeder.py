# SPDX-License-Identifier: GPL-3.0-or-later
"""A steady trickle of jobs, asked for through the application, and what became of each of them by the database."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.integration.site import Site

PROGRAM = Path(__file__).with_name("feed_host.py")
# A web host that no fault touches; the jobs are done on worker1.
PLACE = "app3"
DRAIN_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """sent: the queue has confirmed them. Not done after a minute is lost; done more than once is doubled."""

    sent: int
    done: int
    lost: int
    doubled: int


def counted(sent: Iterable[str], runs: Iterable[tuple[str, int]]) -> Tasks:
    """From the jobs that were sent, and how often each job of the batch was finished."""
    finished = dict(runs)
    keys = list(sent)
    return Tasks(
        sent=len(keys),
        done=sum(finished.get(key, 0) > 0 for key in keys),
        lost=sum(finished.get(key, 0) == 0 for key in keys),
        # Also of those that nobody confirmed: whoever asked would ask again.
        doubled=sum(count > 1 for count in finished.values()),
    )


@dataclass(frozen=True, kw_only=True)
class Beats:
    """Pairs of beats that ticked at the same time, and the longest time in seconds without any tick."""

    overlaps: int
    longest_gap: float


# A beat ticks once a second. Who has been silent for longer has ended, or was frozen: in containers another process may
# come with the same number.
SILENCE_SECONDS = 3.0


def _lives(ticks: Iterable[float]) -> list[tuple[float, float]]:
    """The first and the last tick of each life of what calls itself one process."""
    ordered = sorted(ticks)
    begins = [number for number in range(1, len(ordered)) if ordered[number] - ordered[number - 1] > SILENCE_SECONDS]
    return [(ordered[begin], ordered[end - 1]) for begin, end in itertools.pairwise([0, *begins, len(ordered)])]


def ticking(ticks: Iterable[tuple[float, str]]) -> Beats:
    """From the ticks that were sent: when, and by which process."""
    ordered = sorted(ticks)
    beats = {beat for _at, beat in ordered}
    lives = sorted(life for beat in beats for life in _lives(at for at, one in ordered if one == beat))
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(ordered)]
    return Beats(
        overlaps=sum(later[0] <= earlier[1] for earlier, later in itertools.combinations(lives, 2)),
        longest_gap=round(max(gaps, default=0.0), 1),
    )


class Feeder:
    """Jobs flow within the block; afterwards ``tasks`` says what became of them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._host = site.hosts[PLACE]
        self._batch = f"faults-{uuid.uuid4().hex[:12]}"
        self._sent: list[str] = []
        self._began = 0.0

    def __enter__(self) -> Feeder:
        self._began = time.time()
        (slot,) = self._host.look(self._site.app)["route"]
        self._host.sh(f"cat >{self._file}.py <<'END'\n{PROGRAM.read_text()}\nEND")
        self._start(slot)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        text = self._stop()
        self._host.try_sh(f"rm -f {self._file}.*")
        self._sent = json.loads(text.splitlines()[-1])["sent"] if text.strip() else []

    @property
    def _file(self) -> str:
        return f"/run/{self._batch}"

    def _start(self, slot: str) -> None:
        """With a release's own Python and variables; when that one is pruned, all that is needed was read by then."""
        app = self._site.app
        place = f"/srv/{app}/slots/{slot}"
        code, venv = (self._host.sh(f"readlink -f {place}/{name}").strip() for name in ("code", "venv"))
        self._host.sh(
            f"systemd-run --quiet --collect --unit={self._batch} --uid={app}"
            f" -p EnvironmentFile=/etc/{app}/slots/{slot}.env -p WorkingDirectory={code}"
            f" -p StandardOutput=file:{self._file}.json -p TimeoutStopSec=30"
            f" {venv}/bin/python {self._file}.py {self._batch}"
        )

    def _stop(self) -> str:
        """What it said."""
        return self._host.try_sh(f"systemctl stop {self._batch}; cat {self._file}.json")[1]

    def _ask(self, sql: str) -> list[list[str]]:
        text = self._site.hosts["db1"].sh(f'runuser -u postgres -- psql -d {self._site.app} -AtF " " -c "{sql}"')
        return [line.split() for line in text.splitlines()]

    def beats(self) -> Beats:
        """All that have ticked since the beginning."""
        sql = (
            "SELECT extract(epoch FROM sent_at), host || '/' || slot || '/' || pid FROM jobs_tick"
            f" WHERE sent_at > to_timestamp({self._began})"
        )
        return ticking((float(at), beat) for at, beat in self._ask(sql))

    def _runs(self) -> list[tuple[str, int]]:
        sql = (
            "SELECT j.id, count(r.finished_at) FROM jobs_job j LEFT JOIN jobs_jobrun r ON r.job_id = j.id"
            f" WHERE j.batch = '{self._batch}' GROUP BY j.id"
        )
        return [(key, int(count)) for key, count in self._ask(sql)]

    def tasks(self) -> Tasks:
        """When the queue has had time to become empty."""
        end = time.monotonic() + DRAIN_SECONDS
        while (found := counted(self._sent, self._runs())).lost and time.monotonic() < end:
            time.sleep(0.5)
        return found


class ContainerFeeder(Feeder):
    """The same in a container of the release's image."""

    def _start(self, slot: str) -> None:
        app, web = self._site.app, f"{self._site.app}-web-{slot}"
        # The engine takes each value as it stands, without quotes.
        plain = "import shlex, sys\nfor line in sys.stdin: print(*shlex.split(line))"
        self._host.sh(f"python3 -c '{plain}' </etc/{app}/slots/{slot}.env >{self._file}.env")
        self._host.sh(
            f"docker run --detach --name {self._batch} --network host --user $(id -u {app}):$(id -g {app})"
            f" --env-file {self._file}.env --env PYTHONDONTWRITEBYTECODE=1 --volume {self._file}.py:/feed.py:ro"
            f" $(docker inspect --format '{{{{.Image}}}}' {web}) python /feed.py {self._batch}"
        )

    def _stop(self) -> str:
        words = f"docker stop --time 30 {self._batch} >/dev/null; docker logs {self._batch} 2>/dev/null"
        return self._host.try_sh(f"{words}; docker rm --force {self._batch} >/dev/null")[1]
