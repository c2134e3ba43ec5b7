"""The tour: dead letters of three causes come back, by the commands that an operator types.

Everything is counted at the simulator and on the queue, never taken from what a command says.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.recoveries import NEW_TOKEN, NOT_ARRIVED, NOT_IN_WEBHOOKS, RIGHT_TEMPLATE, TEMPLATE
from sandbox.stage import open_stage
from sandbox.tour_messages import IN_WEBHOOKS, REVOKED, WRONG_TEMPLATE, Message, tour_messages
from stream.contract.headers import ON_UNKNOWN_OUTCOME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from sandbox.stage import Stage
    from sandbox.world import World

SETTLED_WITHIN_S = 20.0
POLL_S = 0.05


@dataclass(frozen=True)
class Check:
    """A count that must be right in the end."""

    what: str
    expected: int
    counted: int


async def run_tour(world: World) -> bool:
    """Run the tour in a world of RabbitMQ and Redis.

    Returns:
        Whether every message was accepted once, and no letter is left.
    """
    started = time.monotonic()
    async with open_stage(world) as stage:
        tour = Tour(stage, tour_messages(), world.base_dir / "arrived.gz")
        await tour.break_down()
        await tour.give_a_new_token()
        await tour.name_the_right_template()
        await tour.send_what_has_not_arrived()
        await tour.discard_what_has_arrived()
        checks = await tour.checks()
        await asyncio.to_thread(stage.worker.stop)
    return report(checks, time.monotonic() - started)


class Tour:
    """The chapters, in their order.

    Args:
        stage: Where it plays.
        sent: What the publishers send.
        backup: Where discarded letters go.
    """

    def __init__(self, stage: Stage, sent: Sequence[Message], backup: Path) -> None:
        self._stage = stage
        self._sent = sent
        self._backup = os.path.relpath(backup)
        self._failing = sum(message.fails for message in sent)
        self._letters = 0  # after the break-down
        self._not_done = 0  # commands with an exit code that is not 0

    async def break_down(self) -> None:
        """Publish everything, with a token revoked, a template that does not exist, and connections that break."""
        graph, tenants = self._stage.graph, self._stage.tenants
        graph.revoke(tenants.token(REVOKED))
        graph.absent_templates.add(WRONG_TEMPLATE)
        _chapter(f"{len(self._sent)} messages are published; {self._failing} of them go wrong.")
        for message in self._sent:
            await self._publish(message)
        await self._until(self._stage.outside.dead_letters, self._failing)
        self._letters = await self._stage.outside.dead_letters()
        await self._type("dead-letters", "groups")

    async def give_a_new_token(self) -> None:
        """Cure a refused token and replay. One message was published again meanwhile: its letter is left."""
        _chapter("The token: the Tenant Service has a new one. The worker forgets the old.")
        self._stage.tenants.rotate(REVOKED)
        await self._type("cache", "invalidate", REVOKED)
        again = next(message for message in self._sent if message.tenant == REVOKED)
        await self._publish(again)
        await self._until(lambda: self._sends(again.to), 1)
        print("\nThe publisher has not waited, and has published one of the four messages again.")
        print("What would a replay do now?")
        await self._type(*NEW_TOKEN.dry_run)
        print("\nIt leaves out the message that Meta has. So:")
        await self._type(*NEW_TOKEN.replay)

    async def name_the_right_template(self) -> None:
        """Replay with a field changed."""
        _chapter(f"The template: {WRONG_TEMPLATE} should read {TEMPLATE}.")
        await self._type(*RIGHT_TEMPLATE.replay)

    async def send_what_has_not_arrived(self) -> None:
        """Send what is in doubt, of the tenant of which the simulator has accepted nothing."""
        _chapter("The doubt: connections broke before Meta answered. Its webhooks know")
        for tenant in (NOT_IN_WEBHOOKS, IN_WEBHOOKS):
            sent = [message for message in self._sent if message.tenant == tenant]
            print(f"{sum(self._accepted()[message.to] for message in sent)} of {len(sent)} messages of {tenant}")
        await self._type(*NOT_ARRIVED.replay)

    async def discard_what_has_arrived(self) -> None:
        """Take the letters off whose messages Meta has."""
        _chapter("The rest: Meta has these messages. They go into a file.")
        await self._type("dead-letters", "replay", "--reason", "what is left?")
        await self._type("dead-letters", "discard", "--reason", "Meta has them", "--backup", self._backup, "--yes")
        await self._type("dead-letters", "groups")
        await self._type("jobs", "list")

    async def checks(self) -> list[Check]:
        """What must be true in the end."""
        total, accepted = len(self._sent), self._accepted()
        payloads = [request.payload or {} for request in self._stage.graph.accepted]
        templates = [payload["template"]["name"] for payload in payloads if "template" in payload]
        return [
            Check("messages dead-lettered at first", self._failing, self._letters),
            Check("messages accepted by Meta", total, sum(accepted[message.to] > 0 for message in self._sent)),
            Check("  with the template's right name", 3, templates.count(TEMPLATE)),
            Check("accepted twice", 0, sum(count > 1 for count in accepted.values())),
            Check("dead letters left", 0, await self._stage.outside.dead_letters()),
            Check("commands that failed", 0, self._not_done),
        ]

    def _accepted(self) -> Counter[str]:
        """Recipient → how often Meta accepted its message."""
        return Counter(request.recipient for request in self._stage.graph.accepted)

    async def _sends(self, to: str) -> int:
        return self._accepted()[to]

    async def _publish(self, message: Message) -> None:
        headers = {ON_UNKNOWN_OUTCOME: "dead-letter"}
        await self._stage.outside.publish(message.body, message.tenant, headers=headers)

    async def _type(self, *words: str) -> None:
        ended = await self._stage.operator.type(*words)
        self._not_done += ended.code != 0

    @staticmethod
    async def _until(count: Callable[[], Awaitable[int]], wanted: int) -> None:
        """Wait until there are so many; if that takes too long, the checks tell."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while time.monotonic() < deadline:
            if await count() >= wanted:
                return
            await asyncio.sleep(POLL_S)


def _chapter(title: str) -> None:
    print(f"\n--- {title}")


def report(checks: Sequence[Check], seconds: float) -> bool:
    """Print what was counted; returns whether all of it is as it must be."""
    print(f"\n{'what the simulator and the queue saw':46} {'expected':>8} {'counted':>8}")
    for check in checks:
        mark = "" if check.expected == check.counted else "   <- differs"
        print(f"{check.what:46} {check.expected:8d} {check.counted:8d}{mark}")
    good = all(check.expected == check.counted for check in checks)
    print(f"\n{seconds:.0f} s. " + ("Every letter's message is with Meta, once." if good else "Something went wrong."))
    return good
