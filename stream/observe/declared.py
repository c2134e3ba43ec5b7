"""The arguments of the queues in the contract's site, as this worker declared them.

The site's files show the defaults. RabbitMQ refuses a client that asserts a queue with other arguments than it was
declared with. So a worker shows its own, which depend on `RABBITMQ_QUEUE_TYPE` and, for quorum queues, on RabbitMQ's
version.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any, Final

Arguments = Mapping[str, Mapping[str, Any]]
"""The name of a queue → its arguments."""

HOUR_MS: Final = 3_600_000


def arguments_html(arguments: Mapping[str, Any]) -> str:
    """A queue's arguments as the page shows them, one per line."""
    return "".join(
        f"<div><code>{html.escape(f'{name}: {json.dumps(value)}')}</code>{_unit(name, value)}</div>"
        for name, value in arguments.items()
    )


def in_page(page: str, arguments: Arguments) -> str:
    """The page with these arguments."""
    for queue, own in arguments.items():
        place = rf'<dd class="arguments" data-queue="{re.escape(queue)}">(?P<arguments>.*?)</dd>'
        page = _put(page, re.search(place, page), arguments_html(own))
    return page


def in_yaml(document: str, arguments: Arguments) -> str:
    """The document with these arguments: they replace the indented lines under `arguments:`, below the queue's name."""
    for queue, own in arguments.items():
        place = (
            rf"^(?P<indent> +)name: {re.escape(queue)}\n(?:(?P=indent)(?!arguments:).*\n)*"
            r"(?P=indent)arguments:\n(?P<arguments>(?:(?P=indent)  .*\n)*)"
        )
        if found := re.search(place, document, re.MULTILINE):
            lines = "".join(f"{found['indent']}  {name}: {value}\n" for name, value in own.items())
            document = _put(document, found, lines)
    return document


def _put(text: str, found: re.Match[str] | None, arguments: str) -> str:
    return text[: found.start("arguments")] + arguments + text[found.end("arguments") :] if found else text


def _unit(name: str, value: Any) -> str:
    return f" milliseconds: {value / HOUR_MS:g} hours" if name == "x-message-ttl" else ""
