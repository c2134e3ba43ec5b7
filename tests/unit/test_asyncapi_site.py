"""The site: built from the code, complete, small, and nothing in it comes from another host."""

from __future__ import annotations

import copy
import re
from html import unescape
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError
from markupsafe import escape

from asyncapi.build import SITE, site_files
from asyncapi.page.colours import coloured_html
from asyncapi.page.errors import spans
from asyncapi.page.page import environment, page
from asyncapi.page.prose import prose_html
from stream.contract.events import Scope
from stream.contract.replay import Replay
from stream.meta.errors import ROWS, ErrorRule
from stream.observe.docs import FILES
from stream.specification.publishing import SAMPLES
from stream.specification.words import REPLAYS, SCOPES
from tests.contract import contract

PAGE = site_files()[SITE / "index.html"]
ENDS = ("Delivered", "Waiting", "Dead-lettered")


class _Reader(HTMLParser):
    """Collects ids, links and what the page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" else []
        self.loads += [values[name] for name in ("src", "href") if name in values and tag != "a"]
        self.inline += [name for name in values if name == "style" or name.startswith("on")]


@pytest.fixture(scope="module")
def read() -> _Reader:
    reader = _Reader()
    reader.feed(PAGE)
    return reader


def test_the_checked_in_site_is_what_the_code_builds() -> None:
    stale = [path.name for path, text in site_files().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make docs`"


def test_the_worker_serves_every_file_of_the_site() -> None:
    assert sorted(FILES) == sorted(path.name for path in site_files())
    assert sorted(FILES) == sorted(path.name for path in SITE.iterdir())


def test_the_site_is_small() -> None:
    assert sum(path.stat().st_size for path in SITE.iterdir()) < 600_000


def test_the_page_loads_nothing_but_its_own_files(read: _Reader) -> None:
    assert set(read.loads) <= set(FILES)
    for name in ("style.css", "docs.js"):
        text = site_files()[SITE / name]
        assert re.findall(r"https?:|//[a-z]|url\(|@import|\bfetch\b|XMLHttp|WebSocket|\bimport\(", text) == []


def test_nothing_is_inline_that_a_strict_policy_would_block(read: _Reader) -> None:
    assert read.inline == []
    assert "<style" not in PAGE
    assert re.findall(r"<script(?! src=)", PAGE) == []


def test_every_link_within_the_page_leads_somewhere(read: _Reader) -> None:
    assert len(read.ids) == len(set(read.ids))
    inside = {link.removeprefix("#") for link in read.links if link.startswith("#")}
    assert inside - set(read.ids) == set()


def test_every_channel_message_and_union_member_has_its_place(read: _Reader) -> None:
    document = contract()
    schemas = document["components"]["schemas"]
    members = [
        option["$ref"].rsplit("/", 1)[1]
        for union in ("WabaPayload", "InteractiveContent", "TemplateComponent")
        for option in schemas[union]["oneOf"]
    ]
    wanted = {
        *(f"channel-{name}" for name in document["channels"]),
        *(f"message-{name}" for name in document["components"]["messages"]),
        *(f"schema-{name}" for name in members),
    }
    assert wanted - set(read.ids) == set()


def test_every_example_is_on_the_page() -> None:
    for message in contract()["components"]["messages"].values():
        for example in message["examples"]:
            assert f"<code>{example['name']}</code>" in PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_of_the_error_table_is_there_with_its_words(row: ErrorRule) -> None:
    found = re.search(rf'<tr id="error-{row.name}".*?</tr>', PAGE, re.DOTALL)
    assert found
    for words in (row.meaning, row.advice, SCOPES[row.scope], REPLAYS[row.replay]):
        assert escape(words) in found.group()


def test_every_scope_and_every_class_of_replay_is_told_in_words() -> None:
    assert (set(SCOPES), set(REPLAYS)) == (set(Scope), set(Replay))


def test_the_list_that_stands_in_for_the_picture_has_its_stations() -> None:
    listed = re.findall(r"<li[^>]*><b>(.+?)</b>", PAGE)
    shown = [re.sub(r"^\d ", "", text) for text in re.findall(r'<text x="[^>]*>(.+?)</text>', PAGE)]
    assert listed == ["Decode", "Claim", "Credentials", "Send", "Decide", "Settle", *ENDS]
    assert [station for station in listed if not any(text.startswith(station) for text in shown)] == []


def test_the_picture_of_a_messages_life_shows_every_station() -> None:
    picture = PAGE[PAGE.index("<svg") : PAGE.index("</svg>")]
    stations = ("1 Decode", "2 Claim", "3 Credentials", "4 Send", "5 Decide", "6 Settle")
    assert [station for station in (*stations, *ENDS) if station not in picture] == []
    for channel in contract()["channels"].values():
        name = channel["bindings"]["amqp"].get("x-queue", {}).get("name") or channel["address"]
        assert name in picture


def test_texts_are_escaped() -> None:
    document = copy.deepcopy(contract())
    intake, message = document["channels"]["intake"], document["components"]["messages"]["OutboundMessage"]
    intake["title"] = '"x" <u> & co'
    intake["description"] = "a `<u>` c"
    document["info"]["description"] = "<br>"
    message["examples"][0]["payload"]["wabaPayload"]["text"] = {"body": "<script>"}
    drawn = page(document)
    assert 'data-find="&#34;x&#34; &lt;u&gt; &amp; co"' in drawn
    assert "<h3>&#34;x&#34; &lt;u&gt; &amp; co</h3>" in drawn
    assert "<p>a <code>&lt;u&gt;</code> c</p>" in drawn
    assert "<p>&lt;br&gt;</p>" in drawn
    assert '<span class="s">&quot;&lt;script&gt;&quot;</span>' in drawn
    assert [found for found in ("<u>", "<br>", "<script>") if found in drawn] == []


def test_a_template_that_names_what_is_not_there_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        environment().from_string("{{ page.nothing }}").render(page=object())


def test_code_is_coloured_piece_by_piece_and_nothing_of_it_is_lost() -> None:
    for sample in SAMPLES:
        coloured = coloured_html(sample.code)
        assert unescape(re.sub(r"</?span[^>]*>", "", coloured)) == sample.code
        assert set(re.findall(r'class="(\w)"', coloured)) >= {"s", "k", "w", "c"}
    assert coloured_html('{"a": 1}') == '{<span class="k">&quot;a&quot;</span>: <span class="n">1</span>}'


def test_every_sample_is_on_the_page_in_lines_of_at_most_72_characters() -> None:
    for sample in SAMPLES:
        assert f"<figcaption>{sample.title}</figcaption><pre><code>{coloured_html(sample.code)}</code></pre>" in PAGE
        assert max(map(len, sample.code.splitlines())) <= 72


def test_a_cell_names_its_column_for_the_cards_of_a_narrow_page() -> None:
    drawn = prose_html("| a | b |\n| --- | --- |\n| 1 | 2 |\n\n| c |\n| --- |\n| 3 |\n")
    assert re.findall(r'<td data-label="(\w)">(\d)</td>', drawn) == [("a", "1"), ("b", "2"), ("c", "3")]


def test_codes_in_a_row_are_written_as_a_range() -> None:
    assert spans([10, 3, 200, 201, 202, 5, 6]) == "3, 5, 6, 10, 200 to 202"
