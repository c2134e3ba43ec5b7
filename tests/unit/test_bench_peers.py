"""What the comparison with other workers rests on."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest

from bench.graph_stub import NginxGraph
from bench.load import make_body
from bench.peers import plan, wires
from bench.peers.chart import Bar, draw
from bench.peers.measure import PeerRun
from bench.peers.peers import OURS, PEERS

ROOT = Path(__file__).parents[2]
RUN = PeerRun(cpu_ms=0.5, rate=1000, steady_cpu_ms=1.0, memory_mib=80, p50_ms=2, p99_ms=8, lost=0, doubled=0)
SLOW = PeerRun(cpu_ms=2.0, rate=250, steady_cpu_ms=1.5, memory_mib=160, p50_ms=4, p99_ms=24, lost=1, doubled=2)
RESULTS = {OURS.name: [RUN, RUN], "other": [SLOW, SLOW]}
BODY = make_body("acme", "16505550001")


def test_each_figure_is_divided_by_this_workers_of_the_same_round() -> None:
    assert plan.ratios([RUN, SLOW], [SLOW, RUN], "cpu_ms") == [0.25, 4.0]
    same, four, quarter = "1.00 (1.00-1.00)", "4.00 (4.00-4.00)", "0.25 (0.25-0.25)"
    columns, rows = plan.multiples(RESULTS)
    assert rows[0] == [OURS.name, *[same] * 6]
    assert dict(zip(columns, rows[1], strict=True))["CPU ms/msg"] == four
    assert dict(zip(columns, rows[1], strict=True))["msg/s on one core"] == quarter


def test_what_was_lost_or_sent_twice_in_any_round_is_shown() -> None:
    columns, rows = plan.absolute(RESULTS)
    assert columns[-2:] == ["lost", "doubled"]
    assert [row[-2:] for row in rows] == [["0", "0"], ["2", "4"]]


def test_the_chart_is_a_picture_with_the_shortest_bar_on_top_and_the_longest_as_wide_as_it_may_be() -> None:
    drawn = draw("a < b", "note", [Bar("long & slow", 4.0, "bar"), Bar("short", 1.0, "ours")])
    picture = ET.fromstring(drawn)  # noqa: S314 - its own text
    texts = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["a < b", "note", "short", "1.00", "long & slow", "4.00"]
    bars = [each for each in picture.iter("{http://www.w3.org/2000/svg}rect") if each.get("class") != "back"]
    assert [(each.get("class"), each.get("width")) for each in bars] == [("ours", "100"), ("bar", "400")]


def test_the_chart_has_colours_for_every_kind_of_worker_in_light_and_in_dark() -> None:
    light, _, dark = plan.chart({peer.name: [RUN] for peer in PEERS}).partition("prefers-color-scheme: dark")
    for kind in ("ours", "promises", "bar"):
        assert f".{kind} {{" in light
        assert f".{kind} {{" in dark
        assert f'class="{kind}"' in dark


def test_every_peers_program_is_under_60_lines() -> None:
    programs = [each for each in (ROOT / "bench" / "peers").glob("*_*.py") if not each.name.startswith("__")]
    sizes = {each.name: len(each.read_text().splitlines()) for each in programs}
    assert len(sizes) == 7
    assert max(sizes.values()) < 60


def test_the_peers_lock_has_a_hash_for_each_version() -> None:
    packages = (ROOT / "requirements-peers.lock").read_text().replace("\\\n", "").splitlines()
    assert {"celery", "dramatiq", "taskiq", "faststream"} <= {each.partition("==")[0] for each in packages}
    assert all("--hash=sha256:" in each for each in packages)


def test_celerys_message_names_its_task_and_carries_the_message_as_its_one_argument() -> None:
    message = wires.celery("deliver").message(BODY)
    assert (message.headers["task"], message.headers["lang"]) == ("deliver", "py")
    assert orjson.loads(message.body)[:2] == [[orjson.loads(BODY)], {}]


@pytest.mark.parametrize("wire", [wires.DRAMATIQ, wires.TASKIQ])
def test_the_other_envelopes_carry_the_message_as_their_one_argument(wire: wires.Wire) -> None:
    assert orjson.loads(wire.message(BODY).body)["args"] == [orjson.loads(BODY)]


def test_each_request_is_read_once_and_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    graph = NginxGraph(tmp_path / "graph")
    log = tmp_path / "graph" / "bodies.log"
    log.write_text('100.500 0.500 {"to":"1"}\n101.000 0.250 {"to": "2"}\n102.0')
    assert graph.new_arrivals() == [("1", 100.0), ("2", 100.75)]
    assert graph.new_arrivals() == []
    with log.open("a") as more:
        more.write('00 1.000 {"to":"2"}\n')
    assert graph.new_arrivals() == [("2", 101.0)]
    assert graph.arrivals() == {"1": 100.0, "2": 101.0}
