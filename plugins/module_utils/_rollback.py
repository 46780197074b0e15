# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release a rollback goes to: decided from the ledgers and directories of all hosts, never from file times."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _ledger
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import other_slot

Info = Mapping[str, Any]
"""What the module ``deploy_info`` returned for one host."""


@dataclass(frozen=True)
class Pair:
    """What is deployed: a release with the configuration it ran with."""

    release: str
    config: str


@dataclass(frozen=True)
class Target:
    """Where a rollback goes; ``slots`` names for each host the slot that will serve it."""

    pair: Pair
    slots: dict[str, str]


def _pair(entry: Mapping[str, Any] | None) -> Pair | None:
    if not entry or not entry.get("release"):
        return None
    return Pair(release=str(entry["release"]), config=str(entry.get("config", "")))


def _proven(info: Info) -> list[Pair]:
    """Every pair that was proven on a host, newest first, each once."""
    pairs: list[Pair] = []
    for entry in info.get("proven") or []:
        pair = _pair(entry)
        if pair is not None and pair not in pairs:
            pairs.append(pair)
    return pairs


def _complete(info: Info) -> set[str]:
    return {str(release["id"]) for release in info.get("releases") or [] if release.get("complete")}


def _problem(info: Info, release: str) -> str:
    """Why a release is not complete on a host."""
    said = (one.get("problem") for one in info.get("releases") or [] if one["id"] == release)
    return next((str(one) for one in said if one), "incomplete")


def choices(infos: Mapping[str, Info], primary: str) -> list[Pair]:
    """What can be chosen: proven on the primary, not live now, and whole (release and configuration) on every host."""
    live = _pair(infos[primary].get("live"))
    whole = set.intersection(*[_complete(info) for info in infos.values()])
    configs = set.intersection(*[set(info.get("configs") or []) for info in infos.values()])
    return [
        pair for pair in _proven(infos[primary]) if pair != live and pair.release in whole and pair.config in configs
    ]


def _offer(pairs: Sequence[Pair]) -> str:
    if not pairs:
        return "there is no other proven release on these hosts; deploy one"
    return "choose one of: " + ", ".join(
        f"-e release={pair.release}" for pair in {p.release: p for p in pairs}.values()
    )


def _previous(infos: Mapping[str, Info], primary: str) -> Pair:
    """What the live pair replaced when it was deployed: going back twice goes further back, not to and fro.

    A run that finished what a killed one had begun replaced the pair by itself; then the ledger's order decides.
    """
    info = infos[primary]
    live = _pair(info.get("live"))
    entries = list(info.get("proven") or [])
    replaced = [
        _pair(entry.get("previous")) for entry in entries if entry["action"] == "deploy" and _pair(entry) == live
    ]
    begun = max((index for index, entry in enumerate(entries) if _pair(entry) == live), default=-1)
    older = [_pair(entry) for entry in entries[begun + 1 :]] if live else []
    for pair in (*replaced, *older):
        if pair is not None and pair != live:
            return pair
    raise SlipwayError(
        "There is no release before the live one to go back to",
        found=f"live: {live.release}" if live else "nothing is live",
        next_step=_offer(choices(infos, primary)),
    )


def _refusal(infos: Mapping[str, Info], primary: str, release: str) -> SlipwayError:
    """Why this release cannot be chosen, said for the first reason that holds."""
    offer = _offer(choices(infos, primary))
    if release not in {pair.release for pair in _proven(infos[primary])}:
        return SlipwayError(
            f"Release {release} was never proven live here",
            expected="a release whose deploy succeeded on these hosts",
            next_step=offer,
        )
    missing = sorted(
        host for host, info in infos.items() if release not in {r["id"] for r in info.get("releases") or []}
    )
    if missing:
        return SlipwayError(
            f"Release {release} is not there any more", found=f"missing on {', '.join(missing)}", next_step=offer
        )
    broken = {host: _problem(info, release) for host, info in infos.items() if release not in _complete(info)}
    if broken:
        return SlipwayError(
            f"Release {release} is not complete",
            found="; ".join(f"on {host}: {problem}" for host, problem in sorted(broken.items())),
            next_step=f"{offer}; or deploy that release again, which brings what is missing",
        )
    return SlipwayError(
        f"The configuration that release {release} ran with is not there any more",
        found="its environment file was pruned",
        next_step=f"{offer}; or deploy that release again",
    )


def broken_by(infos: Mapping[str, Info], primary: str, pair: Pair) -> list[Mapping[str, Any]]:
    """The changes of the schema that came after this pair was last proven, and that its code cannot live with."""
    info = infos[primary]
    proven = max(
        (str(entry.get("time") or "") for entry in info.get("proven") or [] if _pair(entry) == pair), default=""
    )
    later = [change for change in info.get("schema") or [] if str(change["time"]) > proven]
    # Its own migrations, also those that had to wait, are what its code was written for.
    return [change for change in later if change["breaks_old_code"] and change["release"] != pair.release]


def _unsafe(infos: Mapping[str, Info], primary: str, pair: Pair, changes: Sequence[Mapping[str, Any]]) -> SlipwayError:
    """The refusal of a pair whose code no longer fits the database, with the choices there are."""
    ways = [_fitting(infos, primary)]
    if changes[0].get("backup"):
        backup = changes[0]["backup"]
        ways.append(f"put the database back too, and lose what was written since: -e restore_database={backup}")
    ways.append("go back all the same, when you know that it works: -e accept_schema=true")
    return SlipwayError(
        f"Release {pair.release} cannot run on the database as it is now",
        found="; ".join(
            f"{', '.join(change['breaks_old_code'])}, applied {change['time']} for {change['release']}"
            for change in changes
        ),
        expected="a schema that the release knows",
        next_step="; or ".join(ways),
        details={"changes": [dict(change) for change in changes]},
    )


def begun(backup: str) -> str:
    """When a backup was begun, as ISO 8601 in UTC: its id begins with that."""
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-[0-9a-f]+", backup)
    if not found:
        raise SlipwayError(f"{backup} is not the id of a backup", next_step="take one from the table of backups.yml")
    return "{}-{}-{}T{}:{}:{}Z".format(*found.groups())


def _needed(info: Info, name: str, pair: Pair) -> Sequence[Mapping[str, Any]]:
    """Of the changes that ``info`` lists under a name, those that the pair's code was written for."""
    return _ledger.needed(info.get(name) or [], info.get("proven") or [], pair.release)


def lacking(infos: Mapping[str, Info], primary: str, pair: Pair) -> list[str]:
    """The migrations that the pair's code needs and that a restore has undone."""
    return [name for change in _needed(infos[primary], "undone", pair) for name in change["applied"]]


def _refuse_undone(infos: Mapping[str, Info], primary: str, pair: Pair) -> None:
    missing = lacking(infos, primary, pair)
    if missing:
        raise SlipwayError(
            f"Release {pair.release} needs what a restore has taken out of the database",
            found=f"undone: {', '.join(missing)}",
            expected="a schema that the release knows",
            next_step=f"deploy that release again, which applies them again; or {_fitting(infos, primary)}",
        )


def _fitting(infos: Mapping[str, Info], primary: str) -> str:
    fits = [
        pair
        for pair in choices(infos, primary)
        if not broken_by(infos, primary, pair) and not lacking(infos, primary, pair)
    ]
    return f"go to a release that fits: {_offer(fits)}" if fits else "deploy a release that fits"


def _refuse_too_old(infos: Mapping[str, Info], primary: str, pair: Pair, backup: str) -> None:
    """A backup of before the release's own migrations takes away what the release needs."""
    undone = [name for change in _needed(infos[primary], "schema", pair) if str(change["time"]) > begun(backup)
              for name in change["applied"]]  # fmt: skip
    if undone:
        raise SlipwayError(
            f"Backup {backup} is older than what release {pair.release} needs in the database",
            found=f"it is of before {', '.join(undone)}",
            expected="a backup that was begun after them",
            next_step="choose a newer one from backups.yml, or an older release",
        )


def _wanted(infos: Mapping[str, Info], primary: str, release: str) -> Pair:
    if not release:
        return _previous(infos, primary)
    live = _pair(infos[primary].get("live"))
    for pair in _proven(infos[primary]):
        if pair.release == release and pair != live:
            return pair
    if live is not None and live.release == release:
        return live
    raise _refusal(infos, primary, release)


def choose(
    infos: Mapping[str, Info], *, primary: str, release: str = "", accept_schema: bool = False, restored: str = ""
) -> Target:
    """The pair to go back to and the slot on each host, or a refusal that lists what can be chosen.

    ``infos`` maps each application host to its ``deploy_info``; ``release`` is '' for the previous one. ``restored`` is
    the backup that the database will be put back to: what changed the schema since then does not count.
    """
    pair = _wanted(infos, primary, release)
    live = _pair(infos[primary].get("live"))
    if pair != live and pair not in choices(infos, primary):
        raise _refusal(infos, primary, pair.release)
    changes = [] if accept_schema or pair == live else broken_by(infos, primary, pair)
    if pair != live and not accept_schema:
        _refuse_undone(infos, primary, pair)
    if restored:
        _refuse_too_old(infos, primary, pair, restored)
        changes = [change for change in changes if str(change["time"]) <= begun(restored)]
    if changes:
        raise _unsafe(infos, primary, pair, changes)
    return Target(pair=pair, slots={host: _slot(info, pair) for host, info in infos.items()})


def _slot(info: Info, pair: Pair) -> str:
    """The live slot when it already serves the pair, else the other one."""
    live = info.get("live")
    if not live:
        return "blue"
    return str(live["slot"]) if _pair(live) == pair else other_slot(str(live["slot"]))
