# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery's worker or beat, which tells systemd when it really works: a worker once it is connected to its broker.

`systemctl start` then returns when tasks are taken, and fails when they are not; so a handover can stop the old worker
with a good conscience.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import slipway_notify


def _worker_ready(**_: Any) -> None:
    slipway_notify.ready("takes tasks")


def _beat_ready(**_: Any) -> None:
    slipway_notify.ready("sends what is due")


def main() -> None:
    from celery import signals
    from celery.__main__ import main as celery

    signals.worker_ready.connect(_worker_ready)
    signals.beat_init.connect(_beat_ready)
    sys.argv = ["celery", "--app", os.environ["SLIPWAY_CELERY_APP"], *sys.argv[1:]]
    celery()


if __name__ == "__main__":
    main()
