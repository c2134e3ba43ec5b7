"""What the benchmark's figures rest on."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from bench import broker_counts, isolation, limits, rounds, tables, usage
from bench.graph_stub import BODY
from bench.load import make_body
from bench.measure import Run, each_message
from bench.rounds import Size
from bench.servers import ServerClocks
from sandbox.world import RunningRabbitMQ, RunningRedis, World
from stream.contract.decoding import decode
from stream.meta.client import _accepted

RUN = Run(100, 2.0, 50, (9, 2), (5, 5))
LOCK = Path(__file__).parents[2] / "bench" / "node" / "package-lock.json"

BURN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "sum(range(30_000_000)); print('x', flush=True); input()"],
    stdin=subprocess.PIPE)
child.wait()
"""


def test_cpu_of_a_child_is_counted() -> None:
    with subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE) as process:  # noqa: S603 - its own code
        assert process.stdout
        process.stdout.readline()  # the child has done its work and waits
        pids = usage.tree(process.pid)
        of_parent, of_both = usage.cpu_ms([process.pid]), usage.cpu_ms(pids)
        peak, resident = usage.peak_mib(pids), usage.resident_mib(pids)
        for pid in reversed(pids):
            os.kill(pid, signal.SIGKILL)
    assert len(pids) == 2
    assert of_both - of_parent > 100
    assert 10 < resident <= peak < 500


def test_what_the_servers_used_is_told_for_each_message_and_only_of_servers_of_our_own() -> None:
    theirs = World(RunningRabbitMQ("amqp://host", "http://host"), RunningRedis("redis://host"), Path())
    assert ServerClocks(theirs).cpu_ms() is None
    assert each_message(None, None, 100) is None
    assert each_message((100, 10), (300, 20), 100) == (2.0, 0.1)


def test_the_stub_answers_as_meta_documents() -> None:
    accepted = _accepted(200, BODY.encode())
    assert accepted
    assert accepted.wamid.startswith("wamid.")
    assert set(orjson.loads(BODY)) == {"messaging_product", "contacts", "messages"}


def test_the_load_is_what_the_contract_asks_for() -> None:
    message = decode(make_body("acme", "16505550001"))
    assert (message.tenant_id, message.recipient) == ("acme", "16505550001")


def test_ratios_are_taken_round_by_round() -> None:
    slow = [RUN, Run(50, 4.0, 50, (9, 2), (5, 5))]
    fast = [Run(200, 1.0, 50, (0, 0), (1, 1)), Run(100, 2.0, 50, (0, 0), (1, 1))]
    assert tables.ratio(slow, fast) == ("2.00 (2.00-2.00)", "0.50 (0.50-0.50)")


def test_the_lock_names_no_registry_and_pins_every_package() -> None:
    packages = {name: each for name, each in orjson.loads(LOCK.read_bytes())["packages"].items() if name}
    assert packages
    assert all("resolved" not in each and each["integrity"] for each in packages.values())
    assert not re.search(r"registry|npmjs\.org", LOCK.read_text())


def test_the_publisher_is_left_out_of_the_brokers_counts() -> None:
    connections = """[
        {"recv_cnt":900,"send_cnt":800,"client_properties":[["connection_name","longstr","bench-load"]]}
        ,{"recv_cnt":20,"send_cnt":30,"client_properties":[["product","longstr","aiormq"]]}
        ,{"recv_cnt":1,"send_cnt":2,"client_properties":[["connection_name","longstr","a worker"]]}
    ]"""
    assert broker_counts.parse(connections) == broker_counts.BrokerCounts(reads=21, writes=32)


def test_a_server_that_is_not_ours_is_not_asked() -> None:
    foreign = RunningRabbitMQ("amqp://nowhere", "http://nowhere")
    assert broker_counts.BrokerCounter(foreign).counts() is None
    assert tables.run_row("floor", 50, [Run(100, 2.0, 50, (0, 0), None)])[-2:] == ["-", "-"]


def test_the_machine_is_busy_with_all_but_idling_and_waiting_for_disks() -> None:
    stat = "cpu  100 20 30 4000 500 6 7 8 90 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    assert usage.busy_ticks(stat) == 100 + 20 + 30 + 6 + 7 + 8  # guests are in user and nice already


def test_a_machine_whose_cores_all_work_is_wholly_busy() -> None:
    assert usage.machine_share(1000.0 * (os.cpu_count() or 1), seconds=1.0) == 1.0


def test_a_quarter_of_a_core_is_a_quarter_of_each_period(tmp_path: Path) -> None:
    assert limits.layout(tmp_path, 0.25) == (tmp_path, {"cpu.max": "25000 100000"})
    (tmp_path / "cpu").mkdir()
    settings = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "25000"}
    assert limits.layout(tmp_path, 0.25) == (tmp_path / "cpu", settings)


def test_where_no_group_can_be_made_the_reason_is_told(tmp_path: Path) -> None:
    reason = limits.limit_problem(tmp_path / "none")
    assert reason
    assert "No such file or directory" in reason


@pytest.mark.skipif(limits.limit_problem() is not None, reason="no control group can be made here")
def test_a_limited_process_gets_its_share_and_its_group_is_removed() -> None:
    parent, _ = limits.layout(limits.ROOT, 0.25)
    with limits.Limits() as groups, subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        groups.limit([process.pid], 0.25)
        before = usage.cpu_ms([process.pid])
        time.sleep(0.6)
        used_ms = usage.cpu_ms([process.pid]) - before
        made = list(parent.glob(f"bench-{os.getpid()}-*"))
        process.kill()
    assert used_ms < 300
    assert len(made) == 1
    assert not made[0].exists()


def test_this_worker_is_compared_at_each_prefetch() -> None:
    results = {("floor", 10): [RUN], ("stream", 10): [RUN], ("floor", 50): [RUN] * 2, ("stream", 50): [RUN] * 2}
    same = "1.00 (1.00-1.00)"
    assert rounds.ratio_rows(results) == [
        ["stream / floor", "10", "1.00", "1.00"],
        ["stream / floor", "50", same, same],
    ]


def test_latency_is_measured_at_each_prefetch_of_this_worker_only() -> None:
    results = {(kind, prefetch): [RUN] for prefetch in (10, 50) for kind in ("floor", "stream")}
    assert rounds.latency_cases(results) == [("stream", 10), ("floor", 50), ("stream", 50)]


@pytest.mark.parametrize(("within_s", "made"), [(60.0, 2), (0.005, 1)])
async def test_a_round_that_would_take_too_long_is_left_out(
    within_s: float, made: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measure(*_: object, **__: object) -> Run:
        await asyncio.sleep(0.01)
        return RUN

    monkeypatch.setattr(rounds, "measure", measure)
    cases = {("stream", 10): Size(messages=1, rounds=1), ("stream", 50): Size(messages=1, rounds=2)}
    stage: Any = SimpleNamespace(new_tenants=lambda _: [])  # all that is asked of it while nothing is measured
    results = await rounds.run_rounds(stage, cases, within_s)
    assert {case: len(runs) for case, runs in results.items()} == {("stream", 10): 1, ("stream", 50): made}
    assert ("no round 2" in capsys.readouterr().out) == (made == 1)


def test_the_most_within_any_second_is_counted_over_the_seconds_borders() -> None:
    assert isolation._most_in_a_second([0.0, 0.6, 0.7, 1.5, 1.65, 3.0]) == 3
    assert isolation._most_in_a_second([0.0, 1.0]) == 1


def test_quiet_tenants_come_last_in_a_backlog_and_every_message_has_a_recipient_of_its_own() -> None:
    for case in isolation.CASES:
        backlog = case.backlog
        assert len({recipient for _, recipient in backlog}) == len(backlog) == case.noisy * case.messages + case.quiet
        assert all(tenant.startswith("quiet-") for tenant, _ in backlog[len(backlog) - case.quiet :])
