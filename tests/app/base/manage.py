#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the board: migrate, check, collectstatic, enqueue, jobs_report."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")
    execute_from_command_line(sys.argv)
