# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a PostgreSQL server listens for an application, and whom it lets in.

A server has one ``listen_addresses``, whoever else uses it: what others have set is kept, and every application of this
collection says its own addresses in a file of its own (``slipway.listen_NAME``), so that the list can be made anew from
what all of them say, by whichever is provisioned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._addresses import own_addresses, parsed
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError

SETTING = "listen_addresses"
# What PostgreSQL does when no file says anything.
DEFAULT = "localhost"
# The file with the list that all applications share. It is read after every slipway-NAME.conf ('.' comes after '-').
JOINT = "slipway.conf"
OWN = "slipway-"
# Words of pg_hba.conf for addresses; a name that begins with a dot is all hosts of a domain.
WORDS = ("all", "samehost", "samenet")


def answers(results: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The addresses by name, from looped results of ``getent ahosts``, without those that need a scope (link-local)."""
    return {
        str(result["item"]): list(dict.fromkeys(line.split()[0] for line in result["stdout_lines"] if "%" not in line))
        for result in results
    }


def covers(listens: str, address: str) -> bool:
    """Does a server with this value of ``listen_addresses`` listen there? PostgreSQL binds :: for IPv6 only."""
    wanted = parsed(address)
    for entry in entries(listens):
        if entry in ("*", address) or (wanted is not None and parsed(entry) == wanted):
            return True
        if wanted is not None and entry == {4: "0.0.0.0", 6: "::"}[wanted.version]:
            return True
    return False


def unheard(addresses: Sequence[str], listens: str) -> list[str]:
    """Those of the addresses that a server with this value does not listen on."""
    return [address for address in addresses if not covers(listens, address)]


def entries(listens: str) -> list[str]:
    """The parts of a value of ``listen_addresses``."""
    return [entry.strip() for entry in listens.split(",") if entry.strip()]


def own(wish: Mapping[str, Any], resolved: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """On which addresses the server listens for the application's other hosts, and problems."""
    try:
        found = own_addresses(
            "PostgreSQL",
            setting="postgresql_listen_address",
            chosen=wish["listen"],
            address=wish["address"],
            here=wish["here"],
            resolve=lambda name: resolved.get(name, ()),
        )
    except SlipwayError as error:
        return [], [str(error)]
    return list(found), []


def joint_list(rows: Sequence[Mapping[str, str]], own: Sequence[str], *, app: str) -> str:
    """What the shared file has to say, or '' when it is not needed.

    ``rows`` are lines of the server's files in the order that it reads them: file, name, setting.
    """
    before = [row for row in rows if os.path.basename(row["file"]) not in (JOINT, f"{OWN}{app}.conf")]
    of_others = [row["setting"] for row in before if row["name"] == SETTING and not _ours(row)]
    foreign = entries(of_others[-1] if of_others else DEFAULT)
    wished = {entry for row in before if _ours(row) for entry in entries(row["setting"])} | set(own)
    wanted = [*foreign]
    wanted += [entry for entry in sorted(wished) if not covers(",".join(wanted), entry)]
    natural = [row["setting"] for row in before if row["name"] == SETTING]
    now = natural[-1] if natural else DEFAULT
    return "" if not unheard(wanted, now) else ",".join(wanted)


def _ours(row: Mapping[str, str]) -> bool:
    return os.path.basename(row["file"]).startswith(OWN)


def clients(
    wish: Mapping[str, Any], own: Sequence[str], resolved: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[str]]:
    """Who may connect, as addresses with their length, and problems.

    Names in pg_hba.conf would need a reverse lookup that gives the same name; so they are addresses. This host comes
    by the address that it asks.
    """
    wanted, unknown = set(own if wish["is_client"] else ()), []
    for text in [*wish["clients"], *wish["extra"]]:
        found = [text] if _as_is(text) else [one for one in resolved.get(text, ()) if not _loops(one)]
        wanted.update(found)
        if not found and text != wish["address"]:
            unknown.append(text)
    problems = [str(_unknown(text)) for text in unknown]
    return sorted(_with_length(text) for text in wanted), problems


def _as_is(text: str) -> bool:
    return parsed(text) is not None or "/" in text or text in WORDS or text.startswith(".")


def _loops(text: str) -> bool:
    address = parsed(text)
    return address is not None and address.is_loopback


def _with_length(text: str) -> str:
    address = parsed(text)
    if address is not None:
        return str(ip_network(address))
    return text


def _unknown(name: str) -> SlipwayError:
    return SlipwayError(
        f"PostgreSQL cannot let in {name}",
        found="a name that this host cannot resolve to an address in the network",
        expected="the address that it comes from",
        next_step=f"set webapp_address of {name} to its address, or let DNS or /etc/hosts of this host know it",
    )


def plan(server: Mapping[str, Any], wish: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Keys: listens (own addresses), joint (of the shared file), access (who may connect), problems."""
    resolved = answers(results)
    listens, problems = own(wish, resolved) if wish["network"] else ([], [])
    access, unknown = clients(wish, listens, resolved) if wish["network"] else ([], [])
    return {
        "listens": listens,
        "joint": joint_list(server["files"], listens, app=wish["app"]),
        "access": access,
        "problems": [*problems, *unknown],
    }
