"""The few settings that commands need, from the worker's own variables: the others may be unset."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from pydantic import SecretStr, TypeAdapter, ValidationError

from stream.contract.queues import INTAKE_QUEUE
from stream.operations.exits import CommandFailed, ExitCode
from stream.settings import Settings, checks
from stream.settings.model import Milliseconds
from stream.settings.rules import rule_of
from stream.settings.secret_files import file_variable, from_file

_MILLISECONDS: Final = TypeAdapter[int](Milliseconds)


def redis_address() -> str:
    """`REDIS_URL`, or the content of `REDIS_URL_FILE`.

    Raises:
        CommandFailed: One sentence that names the variable and the fix, never the value.
    """
    return _secret("redis_url", checks.redis_url)


def rabbitmq_address() -> str:
    """`RABBITMQ_URL`, or the content of `RABBITMQ_URL_FILE`.

    Raises:
        CommandFailed: One sentence that names the variable and the fix, never the value.
    """
    return _secret("rabbitmq_url", checks.amqp_url)


def message_max_age() -> timedelta:
    """`MESSAGE_MAX_AGE_MS`.

    Raises:
        CommandFailed: The worker would not take it.
    """
    text = os.environ.get("MESSAGE_MAX_AGE_MS", "").strip()
    try:
        age_ms = _MILLISECONDS.validate_python(text or Settings.model_fields["message_max_age_ms"].default)
    except ValidationError:
        raise CommandFailed(
            f"MESSAGE_MAX_AGE_MS: {rule_of('message_max_age_ms')}, as the worker has it", ExitCode.WRONG_USE
        ) from None
    return timedelta(milliseconds=age_ms)


def intake_queue() -> str:
    """`INTAKE_QUEUE`.

    Raises:
        CommandFailed: It cannot be one.
    """
    try:
        return checks.intake_queue(os.environ.get("INTAKE_QUEUE", "").strip() or INTAKE_QUEUE)
    except ValueError as error:
        raise CommandFailed(f"INTAKE_QUEUE: {error}", ExitCode.WRONG_USE) from None


def _secret(field: str, check: Callable[[SecretStr], SecretStr]) -> str:
    name = field.upper()
    variable = file_variable(name) if os.environ.get(file_variable(name)) else name
    default = Settings.model_fields[field].default.get_secret_value()
    try:
        value = from_file(name, os.environ) or os.environ.get(name, default).strip()
        return check(SecretStr(value)).get_secret_value()
    except ValueError as error:
        raise CommandFailed(f"{variable}: {error}", ExitCode.WRONG_USE) from None
