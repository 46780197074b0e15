# SPDX-License-Identifier: GPL-3.0-or-later
"""A load generator that counts: what was sent, what was answered, what failed, and which release answered when.

with LoadGenerator(url="https://10.1.2.3", host="demo.example", insecure=True) as load:
    load.wait_for(answers=200)
    deploy()
assert load.report.failed == 0
"""

from __future__ import annotations

from tests.load.generator import LoadGenerator
from tests.load.options import Mix, Options, OptionsError
from tests.load.report import Report

__all__ = ["LoadGenerator", "Mix", "Options", "OptionsError", "Report"]
