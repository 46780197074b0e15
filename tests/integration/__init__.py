# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators do, on real hosts, judged by readers that know nothing of the collection."""
