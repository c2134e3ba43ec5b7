"""Structured JSON logs on standard output: ours through structlog, those of libraries through the same processors."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Final, Literal

import orjson
import structlog

from stream.observe.redaction import redact_event, without_wamids

Wamids = Literal["full", "masked"]

# Their INFO lines repeat our own lines; their warnings matter.
_CHATTY: Final = ("aio_pika", "asyncio", "httpx", "httpcore", "aiohttp")
# We log a lost connection in one line; these add a traceback for each object that used it.
_NOISY: Final = ("aiormq", "aio_pika.tools")


@lru_cache(maxsize=1)
def _to_the_second(epoch_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch_s))


def _add_timestamp(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    second, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    event["timestamp"] = f"{_to_the_second(second)}.{microseconds:06}Z"
    return event


def _render(_logger: object, _method: str, event: Any) -> bytes:
    return orjson.dumps(event, default=str)


def _as_text(_logger: object, _method: str, line: Any) -> str:
    return str(line, "utf-8")


_SHARED: Final[tuple[structlog.typing.Processor, ...]] = (
    structlog.processors.add_log_level,
    _add_timestamp,
    structlog.processors.format_exc_info,  # the plain traceback: local variables would show messages
    redact_event,
    _render,
)


def _mask_wamids(_logger: object, _method: str, line: Any) -> bytes:
    return without_wamids(line)


def configure_logging(level: str, *, wamids: Wamids = "full") -> None:
    """Set up logging for the process, at `LOG_LEVEL`, with Meta's ids of messages as `LOG_WAMID` says."""
    number = logging.getLevelNamesMapping()[level]
    chain = (*_SHARED, _mask_wamids) if wamids == "masked" else _SHARED
    structlog.configure(
        processors=list(chain),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *chain, _as_text],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
