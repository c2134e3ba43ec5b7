"""What FastStream's command line was asked to do, which decides how `stream.app:app` is built.

FastStream imports the application for each of its commands. And with `--workers` it restarts a child that has died, for
ever: what cannot work must be refused in the parent, before there are children.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from stream.settings import InvalidSettings, Settings

_WORKERS: Final = re.compile(r"(?:^|\0)(?:-w|--workers)[=\0]?(\d+)")


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call of `faststream`.

    Attributes:
        documents: It asks for the contract: nothing will run.
        workers: Processes that it starts on this machine.
    """

    documents: bool
    workers: int

    @classmethod
    def of(cls, arguments: Sequence[str], environ: Mapping[str, str]) -> Self:
        """Read the arguments, and the environment variable that FastStream takes instead of one."""
        command = arguments[0] if arguments else ""
        found = _WORKERS.findall("\0".join(arguments)) if command == "run" else []
        named = environ.get("FASTSTREAM_WORKERS", "") if command == "run" else ""
        return cls(documents=command == "docs", workers=int([named if named.isdecimal() else "1", *found][-1]))

    def check(self, settings: Settings) -> None:
        """Refuse what would only fail in the children.

        Raises:
            InvalidSettings: The processes would share one HTTP port.
        """
        if self.workers > 1 and settings.http_port:
            raise InvalidSettings(
                f"HTTP_PORT: is one port for the {self.workers} processes of --workers: leave --workers out and start "
                "more replicas, or set HTTP_PORT=0"
            )
