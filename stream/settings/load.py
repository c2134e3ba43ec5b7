"""Reading the settings from the environment, and from the files that it names.

Each value that is wrong or contradicts another stops the start, with one line that names the variable and the fix.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from pydantic import ValidationError

from stream.proxies import wrong_proxies
from stream.settings.model import SECRETS, Settings
from stream.settings.rules import rule_of
from stream.settings.secret_files import file_variable, from_file


class InvalidSettings(Exception):  # noqa: N818 - it is a sentence for an operator
    """Settings are missing, wrong or contradict each other; the text has one line for each, with the fix."""


def load_settings(model: type[Settings] = Settings) -> Settings:
    """Read the environment, and the files that it names.

    Raises:
        InvalidSettings: All that is wrong, one line each: the variable and the fix, never the value.
    """
    values, wrong = _from_files()
    try:
        settings = model(**values)  # type: ignore[arg-type]  # texts, as the environment's
    except ValidationError as error:
        for name, fix in _fixes(error):
            variable = file_variable(name.upper()) if name in values else name.upper()
            if file_variable(variable) not in wrong:  # without the file, the other settings are not what was meant
                wrong.setdefault(variable, fix)
    wrong.update(wrong_proxies())
    if wrong:
        raise InvalidSettings("\n".join(f"{variable}: {fix}" for variable, fix in wrong.items()))
    return settings


def _from_files() -> tuple[dict[str, str], dict[str, str]]:
    """The secrets that come from a file, by setting; and the fixes for the files that cannot be read, by variable."""
    values: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for name in SECRETS:
        try:
            if (value := from_file(name.upper(), os.environ)) is not None:
                values[name] = value
        except ValueError as error:
            wrong[file_variable(name.upper())] = str(error)
    return values, wrong


def _fixes(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Each setting that is wrong, and the fix."""
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(each["loc"][0])
        ours = each["type"] == "value_error"  # of a check; else it is pydantic's own, whose words are not for operators
        yield name, each["msg"].removeprefix("Value error, ") if ours else rule_of(name)
