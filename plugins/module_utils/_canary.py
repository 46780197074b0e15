# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the new release worse than the old one? Judged by what users got from both at the same time.

Worse is what is both large enough to matter and too unlikely to be chance (``_chance``). A judgement looks at most
``LOOKS`` times, at errors and at times, and once at its own probes; each of these tests has an equal share of ``ALPHA``
(Bonferroni), so that a release that is as good as the old one is called worse in at most ``ALPHA`` of all judgements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _chance
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import other_slot
from ansible_collections.slipway.webapp.plugins.module_utils._sample import Sample, milliseconds_of, read, total

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
GO_ON, LOOK_AGAIN, STOP = "go_on", "look_again", "stop"
POLICIES = ("probe", "wait", "stop", "pass")

ALPHA = 0.01
LOOKS = 3
LEVEL = ALPHA / (2 * LOOKS + 2)
QUANTILE = 0.95
LEAST_MILLISECONDS = 50.0  # a rise that nobody feels is none
MOST_BROKEN = 0.05  # of a log's lines
LEAST_PROBES = 10


@dataclass(frozen=True)
class Limits:
    """``errors``: the smallest rise of the rate that counts; ``latency``: the smallest ratio of the p95 that counts."""

    minimum: int = 100
    errors: float = 0.005
    latency: float = 1.5


@dataclass(frozen=True)
class Reading:
    """What a query of the operator's own monitoring says: ``failure`` when it is bad, ``gap`` when it says nothing."""

    name: str
    said: str = ""
    failure: str = ""
    gap: str = ""


@dataclass(frozen=True)
class Fleet:
    """The samples of all hosts together. ``gaps`` is what is not known, and must be, to say that all is well."""

    new: Sample
    old: Sample
    before: Sample
    same: Sample
    probes: Mapping[str, Sample]
    gaps: tuple[str, ...] = ()


@dataclass
class Findings:
    """What one look has found. ``few``: there was too little traffic; ``doubts``: worse, but maybe by chance."""

    failures: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    few: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    good: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Judgement:
    """``verdict`` is what was found; ``decision`` what follows from it by the policy and the time that is left."""

    verdict: str
    decision: str
    reasons: tuple[str, ...]


def _gap_of(host: str, info: Mapping[str, Any]) -> str:
    """Why what this host says is not enough, or ''."""
    log = info.get("log")
    if not isinstance(log, Mapping):
        return f"{host} gave no answer"
    if log.get("state") != "ok":
        return f"{host} has no log that can be read ({log.get('said', '')})"
    if log.get("broken", 0) > MOST_BROKEN * log.get("lines", 0):
        return f"{host}: {log['broken']} of {log['lines']} lines of its log are no requests"
    if not log.get("whole"):
        return f"{host}: a part of its log was rotated away or is too long to be read"
    return ""


def gather(infos: Mapping[str, Mapping[str, Any]], hosts: Sequence[str]) -> Fleet:
    """What ``traffic_info`` said on each of ``hosts``, added up."""
    answers = {host: infos.get(host) or {} for host in hosts}
    heard = [info for info in answers.values() if info.get("slots")]
    gaps = [gap for gap in (_gap_of(host, info) for host, info in answers.items()) if gap]
    probes: dict[str, list[Sample]] = {"new": [], "old": []}
    for info in heard:
        for slot, data in (info.get("probes") or {}).items():
            probes["new" if slot == info["slot"] else "old"].append(read(data))
    return Fleet(
        new=total(read(info["slots"].get(info["slot"])) for info in heard),
        old=total(read(info["slots"].get(other_slot(info["slot"]))) for info in heard),
        before=total(read(info.get("before")) for info in heard),
        same=total(read(info.get("same")) for info in heard),
        probes={side: total(samples) for side, samples in probes.items()},
        gaps=tuple(gaps or ([] if hosts else ["no host was asked"])),
    )


def p95(sample: Sample) -> float:
    """In milliseconds; 0 without times."""
    _rank, step = sample.quantile(QUANTILE)
    return milliseconds_of(step) if sample.timed else 0.0


def _failed(sample: Sample) -> str:
    return f"{sample.errors} of {sample.requests} ({100 * sample.rate:.2f} %)"


def _more_errors(new: Sample, old: Sample, limits: Limits) -> bool:
    return bool(new.errors) and new.rate - old.rate >= limits.errors


def _slower(new: Sample, old: Sample, limits: Limits) -> bool:
    if not new.timed or not old.timed:
        return False
    return p95(new) >= limits.latency * p95(old) and p95(new) - p95(old) >= LEAST_MILLISECONDS


def compare(new: Sample, old: Sample, *, same: Sample, limits: Limits, what: str) -> Findings:
    """Errors and times of two samples. Where the ``same`` clients had it as bad before, it is not the release.

    A canary's clients are a few buckets: one visitor whose request always failed, or who only asks for slow pages, is
    not spread over both sides.
    """
    known = same if same.requests >= limits.minimum else Sample()
    found = Findings()
    if _more_errors(new, old, limits) and (not known.requests or _more_errors(new, known, limits)):
        chance = _chance.of_more_errors(new, old)
        said = f"{what}: {_failed(new)} failed on the new side, {_failed(old)} on the old one, chance {chance:.2g}"
        (found.failures if chance <= LEVEL else found.doubts).append(said)
    if _slower(new, old, limits) and (not known.timed or _slower(new, known, limits)):
        chance = _chance.of_more_slow_ones(new, old, QUANTILE)
        said = f"{what}: p95 {p95(new):.0f} ms on the new side, {p95(old):.0f} ms on the old one, chance {chance:.2g}"
        (found.failures if chance <= LEVEL else found.doubts).append(said)
    if not found.failures and not found.doubts:
        found.good.append(
            f"{what}: {_failed(new)} failed on the new side, {_failed(old)} on the old one;"
            f" p95 {p95(new):.0f} and {p95(old):.0f} ms"
        )
    return found


def _users(fleet: Fleet, limits: Limits) -> Findings:
    """The judgement on real traffic. Where the old side has none any more, what it did before is compared."""
    at_once = fleet.old.requests >= limits.minimum or fleet.before.requests < limits.minimum
    old, when = (fleet.old, "at the same time") if at_once else (fleet.before, "before")
    found = compare(fleet.new, old, same=fleet.same, limits=limits, what=f"users ({when})")
    for side, sample in (("new", fleet.new), ("old", old)):
        if sample.requests < limits.minimum:
            found.few.append(f"the {side} side has answered {sample.requests} requests of users, not {limits.minimum}")
    return found


def _probes(fleet: Fleet, limits: Limits) -> Findings:
    """The judgement on our own requests. Without an old side none of them may fail."""
    new, old = fleet.probes["new"], fleet.probes["old"]
    if new.requests < LEAST_PROBES:
        return Findings(few=[f"{new.requests} requests of our own were answered, not {LEAST_PROBES}"])
    if not old.requests and new.errors:
        return Findings(doubts=[f"probes: {_failed(new)} failed on the new side"])
    return compare(new, old, same=Sample(), limits=limits, what="probes")


def _asked(fleet: Fleet) -> bool:
    """Whether the new side has answered anything: users whatever they asked, ourselves well."""
    ours = fleet.probes["new"]
    return bool(fleet.new.requests) or ours.requests > ours.errors


def judge(
    fleet: Fleet,
    *,
    limits: Limits,
    policy: str,
    final: bool,
    whole: bool = False,
    readings: Iterable[Reading] = (),
) -> Judgement:
    """One look's judgement. ``final``: there is no time for another; ``whole``: all of the time is to be watched."""
    found = _users(fleet, limits)
    found.gaps += fleet.gaps
    # Too little traffic may pass, none at all says nothing.
    if policy == "pass" and not found.gaps and not _asked(fleet):
        found.gaps.append("the new side has answered no request, neither of users nor of ours")
    replaced = False
    if policy == "probe" and found.few and fleet.probes["new"].requests:
        probed = _probes(fleet, limits)
        found.failures += probed.failures
        found.good += probed.good
        # Few as they are, ours are alike: what fails among them is no visitor's oddity.
        found.few += probed.few + probed.doubts
        replaced = not (probed.failures or probed.few or probed.doubts)
    for reading in readings:
        found.failures += [reading.failure] if reading.failure else []
        found.gaps += [reading.gap] if reading.gap else []
        found.good += [reading.said] if reading.said else []
    verdict, reasons = _verdict(found, replaced=replaced, final=final)
    return Judgement(verdict, _decide(verdict, found, policy=policy, final=final, whole=whole), tuple(reasons))


def _verdict(found: Findings, *, replaced: bool, final: bool) -> tuple[str, list[str]]:
    if found.failures:
        return FAIL, found.failures
    if found.gaps:
        return INCONCLUSIVE, [*found.gaps, *found.few, *found.doubts]
    if found.few and not replaced:
        return INCONCLUSIVE, [*found.few, *found.doubts]
    if found.doubts and not final:
        return INCONCLUSIVE, found.doubts
    # What is not to be told from chance when the time is over is no reason to go back.
    return PASS, [*found.good, *found.doubts, *found.few]


def _decide(verdict: str, found: Findings, *, policy: str, final: bool, whole: bool) -> str:
    if verdict == FAIL:
        return STOP
    if verdict == PASS:
        return LOOK_AGAIN if whole and not final else GO_ON
    if not final and (policy != "stop" or not (found.few or found.gaps)):
        return LOOK_AGAIN
    # Missing data never passes, whatever the policy: it passes on too little traffic only, which is more than none.
    return GO_ON if policy == "pass" and not found.gaps else STOP


def numbers(fleet: Fleet) -> dict[str, dict[str, float]]:
    """What was counted, for people and for other programs."""
    sides = {
        "new": fleet.new,
        "old": fleet.old,
        "old_before": fleet.before,
        "same_clients_before": fleet.same,
        "probes_new": fleet.probes["new"],
        "probes_old": fleet.probes["old"],
    }
    return {
        name: {"requests": sample.requests, "errors": sample.errors, "p95_ms": round(p95(sample), 1)}
        for name, sample in sides.items()
    }


def told(judgement: Judgement) -> str:
    """The judgement for people."""
    summary = {
        PASS: "The new release does as well as the old one",
        FAIL: "The new release does worse than the old one",
        INCONCLUSIVE: "Whether the new release does as well as the old one cannot be told",
    }[judgement.verdict]
    next_step = {
        FAIL: "mend what the log of the new release says, then run the same command again",
        INCONCLUSIVE: "see webapp_analysis_inconclusive, webapp_analysis_minimum and webapp_analysis_seconds",
    }.get(judgement.verdict, "")
    said = SlipwayError(summary, found="; ".join(judgement.reasons), next_step=next_step)
    return str(said)
