# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that go to systemctl and its kin, and what is made of their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _systemd
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed
from ansible_collections.slipway.webapp.plugins.module_utils._systemd import HostSystemd

WEB, BEAT = "shop-web@blue.service", "shop-beat@blue.service"
# Recorded from systemd 257.
TWO_STATES = f"""Id={WEB}
ActiveState=active
SubState=running
ActiveEnterTimestamp=@1795262061

Id={BEAT}
ActiveState=failed
SubState=failed
ActiveEnterTimestamp=
"""


@dataclass
class Recorded:
    """Answers by the first words of a command, and remembers all commands."""

    answers: dict[str, Completed] = field(default_factory=dict)
    ran: list[list[str]] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        cwd: str = "",
        timeout: float = 0.0,
    ) -> Completed:
        assert (user, cwd) == ("", "")
        assert environment in (None, {"TZ": "UTC"})
        self.ran.append([*command, *([f"<{timeout:g}"] if timeout else [])])
        for words, answer in self.answers.items():
            if " ".join(command).startswith(words):
                return answer
        return Completed(0, "", "")


def test_states_by_one_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_systemd, "WANTS", str(tmp_path))
    (tmp_path / WEB).symlink_to("/etc/systemd/system/shop-web@.service")
    runner = Recorded({"systemctl show": Completed(0, TWO_STATES, "")})
    states = HostSystemd(runner).states([WEB, BEAT])
    web, beat = states[WEB], states[BEAT]
    assert (web.active, web.running, web.enabled, web.since) == ("active", True, True, "2026-11-21T11:54:21Z")
    assert (beat.active, beat.running, beat.enabled, beat.since) == ("failed", False, False, "")
    assert len(runner.ran) == 1
    assert HostSystemd(runner).states([]) == {}
    assert len(runner.ran) == 1


@pytest.mark.parametrize("answer", [Completed(1, "", "no bus"), Completed(0, "Id=x\nActiveState=active\n", "")])
def test_no_answer_is_never_taken_for_a_state(answer: Completed) -> None:
    with pytest.raises(SlipwayError, match="systemd did not answer"):
        HostSystemd(Recorded({"systemctl show": answer})).states([WEB, BEAT])


def test_begin_does_not_wait() -> None:
    runner = Recorded()
    HostSystemd(runner).begin([WEB, BEAT])
    HostSystemd(runner).begin([])
    HostSystemd(runner).start([], timeout=60)
    assert runner.ran == [["systemctl", "reset-failed", WEB, BEAT], ["systemctl", "start", "--no-block", WEB, BEAT]]


def test_start_side_by_side() -> None:
    runner = Recorded()
    HostSystemd(runner).start([WEB, BEAT], timeout=60)
    assert runner.ran == [["systemctl", "reset-failed", WEB, BEAT], ["systemctl", "start", WEB, BEAT, "<60"]]


def test_a_failed_start_says_why_in_its_first_line_and_shows_the_log_of_this_start() -> None:
    said = (
        'Warning: The unit file of x changed on disk.\nJob for x failed because of an error code.\nSee "systemctl".\n'
    )
    runner = Recorded(
        {
            "systemctl start": Completed(1, "", said),
            "systemctl show --timestamp": Completed(0, TWO_STATES, ""),
            "systemctl show --property=InvocationID": Completed(0, "abc\n", ""),
            "journalctl": Completed(0, "one\ntwo\n", ""),
        }
    )
    with pytest.raises(SlipwayError, match=f"{BEAT} did not start") as failure:
        HostSystemd(runner).start([WEB, BEAT], timeout=60)
    assert failure.value.found.splitlines()[0] == "Job for x failed because of an error code."
    assert failure.value.details == {"unit": BEAT, "log": ["one", "two"]}
    assert runner.ran[-1][-3:] == ["_SYSTEMD_INVOCATION_ID=abc", "+", "INVOCATION_ID=abc"]


def test_a_start_that_takes_too_long_is_called_off() -> None:
    runner = Recorded(
        {
            "systemctl start": Completed(124, "", "", timed_out=True),
            "systemctl show --timestamp": Completed(0, TWO_STATES, ""),
        }
    )
    with pytest.raises(SlipwayError, match="not ready within 60 s"):
        HostSystemd(runner).start([WEB, BEAT], timeout=60)
    assert ["systemctl", "stop", "--no-block", BEAT] in runner.ran


def test_stop_enable_disable() -> None:
    runner = Recorded()
    systemd = HostSystemd(runner)
    systemd.stop([WEB])
    systemd.stop([WEB], wait=False)
    systemd.enable([WEB, BEAT])
    systemd.disable([WEB])
    assert [" ".join(command) for command in runner.ran] == [
        f"systemctl stop {WEB}",
        f"systemctl stop --no-block {WEB}",
        f"systemctl enable --quiet --no-reload {WEB} {BEAT}",
        f"systemctl disable --quiet --no-reload {WEB}",
    ]
    for verb in (systemd.stop, systemd.enable, systemd.disable):
        verb([])
    assert len(runner.ran) == 4
    with pytest.raises(SlipwayError, match="systemctl enable"):
        HostSystemd(Recorded({"systemctl enable": Completed(1, "", "no such unit")})).enable([WEB])


def test_stop_later_looks_once_more() -> None:
    runner = Recorded()
    condition = ["/usr/bin/find", "/srv/shop/route/", "-lname", "*/blue/web.sock", "-exec", "false", "{}", "+"]
    HostSystemd(runner).stop_later("shop-retire-blue", [WEB], seconds=300, only_if=condition)
    command = runner.ran[0]
    assert command[0] == "systemd-run"
    assert "--on-active=300" in command
    assert (
        "--property=ExecCondition=/usr/bin/find /srv/shop/route/ -lname '*/blue/web.sock' -exec false '{}' +" in command
    )
    assert command[-3:] == ["systemctl", "stop", WEB]


def test_a_timer_that_cannot_be_cancelled_is_an_error() -> None:
    runner = Recorded({"systemctl is-active": Completed(3, "", "")})
    HostSystemd(runner).cancel("shop-retire-blue")
    assert runner.ran[0] == ["systemctl", "stop", "shop-retire-blue.timer", "shop-retire-blue.service"]
    with pytest.raises(SlipwayError, match="cannot be stopped"):
        HostSystemd(Recorded()).cancel("shop-retire-blue")
