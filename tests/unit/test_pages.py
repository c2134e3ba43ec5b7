"""What the pages say leads somewhere: every link, every target of make, every command of `stream`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.main import get_command

from sandbox.ports import MANAGEMENT_PORT, PASSWORD, RABBITMQ_PORT, USERNAME
from sandbox.up import publish_command
from sandbox.world import RunningRabbitMQ
from stream.operations.cli import app
from tests.pages import PAGES, ROOT, anchors, code, links, read

TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_place_in_it(page: str) -> None:
    assert [link for link in links(page) if not _leads_somewhere(page, link)] == []


def _leads_somewhere(page: str, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:  # another host: whether it answers is not asked
        return parts.scheme == "https" and "." in parts.netloc
    target = (ROOT / page).parent / parts.path if parts.path else ROOT / page
    if not target.exists():
        return False
    return not parts.fragment or parts.fragment in anchors(str(target.resolve().relative_to(ROOT.resolve())))


def test_a_link_that_leads_nowhere_is_noticed(tmp_path: Path) -> None:
    missing = str((tmp_path / "page.md").relative_to("/"))
    for link in ("docs/none.md", "docs/start.md#none", "http://plain.example", "https://host", f"/{missing}"):
        assert not _leads_somewhere("README.md", link)
    assert _leads_somewhere("README.md", "docs/traffic.md#pacing")


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_the_readme_leads_to_every_page(page: str) -> None:
    assert page in links("README.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"\bmake ([a-z-]+(?: [a-z-]+)*)(?=[ `\n]*[`#=\n]| [A-Z]+=)", read(page))
    assert {target for each in named for target in each.split()} <= TARGETS


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_stream_that_a_page_names_exists_with_its_options(page: str) -> None:
    typed = [text.removeprefix("$ ").removeprefix(".venv/bin/") for text in code(page)]
    assert [text for text in typed if text.startswith("stream ") and not _exists(text)] == []


def _exists(text: str) -> bool:
    command: Any = get_command(app)
    words = shlex.split(text.partition(" | ")[0], comments=True)[1:]
    while (group := getattr(command, "commands", None)) and words and not words[0].startswith("-"):
        if (command := group.get(words.pop(0).partition("|")[0])) is None:
            return False
    known = {name for option in command.params for name in [*option.opts, *option.secondary_opts]}
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= {*known, "--help"}


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert not _exists("stream letters")
    assert not _exists("stream dead-letters list --colour")
    assert _exists("stream dead-letters list --type AUTH_ERROR")


def test_the_readme_and_the_start_publish_as_sandbox_up_prints_it() -> None:
    usual = f"amqp://{USERNAME}:{PASSWORD}@127.0.0.1:{RABBITMQ_PORT}/%2Fwhatsapp"
    printed = publish_command(RunningRabbitMQ(usual, f"http://127.0.0.1:{MANAGEMENT_PORT}"))
    assert printed in read("README.md")
    assert printed in read("docs/start.md")


def test_the_readme_is_one_that_people_read_to_its_end() -> None:
    assert len(read("README.md").splitlines()) <= 150
