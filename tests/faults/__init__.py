# SPDX-License-Identifier: GPL-3.0-or-later
"""Every step of a deploy, and what may go wrong at it, on the production fleet under load.

``python -m tests.faults`` runs the matrix (`make faults`), ``python -m tests.faults table`` writes what was counted
into the documentation. `steps.py` and `faults.py` are its two tables, `runner.py` carries out one cell.
"""
