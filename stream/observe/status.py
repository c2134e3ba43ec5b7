"""The detailed health (`/health`): each dependency with state and latency, and the tries of the last minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from yarl import URL

from stream import __version__
from stream.contract.events import Scope
from stream.proxies import proxy_for

PROBE_TIMEOUT_S: Final = 1.0
FRESH_S: Final = 2.0  # seconds; callers that ask more often get the last answer, so that probes do not become load

Overall = Literal["healthy", "degraded", "unhealthy"]


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that the worker needs.

    Attributes:
        name: As it is shown.
        required: Without it nothing is delivered; without an optional one, the worker still delivers.
        probe: Asks it something cheap; raises when it does not answer.
        address: Which of several it is.
    """

    name: str
    required: bool
    probe: Callable[[], Awaitable[object]]
    address: Callable[[], str] | None = None


class Status:
    """Puts the detailed health together.

    Args:
        dependencies: Probed all at once, each for a second at most.
        consuming: Whether messages arrive.
        circuits: How many circuits of each scope are open; one of the platform's degrades the worker.
        rates: Tries per second in the last minute, and the share of failed tries, from 0 to 1.
        queues: Messages on each queue; `None` while RabbitMQ does not answer.
        monotonic: Seconds.
    """

    def __init__(
        self,
        dependencies: tuple[Dependency, ...],
        *,
        consuming: Callable[[], bool],
        circuits: Callable[[], Mapping[str, int]],
        rates: Callable[[], tuple[float, float]],
        queues: Callable[[], Awaitable[Mapping[str, int] | None]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dependencies = dependencies
        self._consuming = consuming
        self._circuits = circuits
        self._rates = rates
        self._queues = queues
        self._monotonic = monotonic
        self._started = monotonic()
        self._known: dict[str, Any] = {}
        self._probed_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def read(self) -> tuple[Overall, dict[str, Any]]:
        """The overall state and everything known, fit for JSON."""
        async with self._one_at_a_time:
            if self._monotonic() - self._probed_at > FRESH_S:
                found = await asyncio.gather(*(self._probed(each) for each in self._dependencies))
                self._known = {each.name: state for each, state in zip(self._dependencies, found, strict=True)}
                self._probed_at = self._monotonic()
        consuming = self._consuming()
        per_second, failed = self._rates()
        circuits = self._circuits()
        overall = self._overall(consuming=consuming, platform_open=circuits.get(Scope.PLATFORM, 0) > 0)
        return overall, {
            "status": overall,
            "version": __version__,
            "uptimeS": round(self._monotonic() - self._started, 1),
            "consuming": consuming,
            "dependencies": self._known,
            "openCircuits": dict(circuits),
            "lastMinute": {"messagesPerSecond": round(per_second, 2), "errorRate": round(failed, 4)},
            "queues": await self._queues(),
        }

    def _overall(self, *, consuming: bool, platform_open: bool) -> Overall:
        down = [each for each in self._dependencies if self._known[each.name]["status"] == "down"]
        if not consuming or any(each.required for each in down):
            return "unhealthy"
        return "degraded" if down or platform_open else "healthy"

    async def _probed(self, dependency: Dependency) -> dict[str, Any]:
        started = self._monotonic()
        known = {"role": "required" if dependency.required else "optional"}
        if dependency.address is not None:
            known["address"] = dependency.address()
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await dependency.probe()
        except Exception as error:  # noqa: BLE001 - with any error, the dependency did not answer
            return {"status": "down", **known, "error": type(error).__name__}
        return {"status": "up", **known, "latencyMs": round((self._monotonic() - started) * 1000, 1)}


async def reachable(url: str) -> None:
    """Open a TCP connection to a URL's host, or to the proxy before it, and close it: nothing is sent or counted there.

    Raises:
        OSError: It does not listen.
    """
    where = proxy_for(URL(url)) or URL(url)
    _, writer = await asyncio.open_connection(where.host, where.port)
    writer.close()
    await writer.wait_closed()
