"""Structured JSON logs on standard output: ours through structlog, other libraries' through the same chain."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import orjson
import structlog

from stream.observe.redaction import redact_event

# Their INFO lines repeat what our own say; their warnings matter.
_CHATTY: Final = ("aio_pika", "asyncio", "httpx", "httpcore", "aiohttp")
# A lost connection is one line of ours; these add a traceback for each thing that hung on it.
_NOISY: Final = ("aiormq", "aio_pika.tools")


def _render(_logger: object, _method: str, event: Any) -> str:
    return orjson.dumps(event, default=str).decode()


_SHARED: Final[tuple[structlog.typing.Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,  # the plain traceback: one that shows local variables would show messages
    redact_event,
    _render,
)


def configure_logging(level: str) -> None:
    """Set up logging for the process, at `LOG_LEVEL`."""
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=list(_SHARED),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_SHARED],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
