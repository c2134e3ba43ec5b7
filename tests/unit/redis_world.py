"""A link to a Redis that answers each command with its key, or with the error that a test has set for it."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from stream.redis.link import RedisLink
from stream.redis.scripts import Script
from tests.unit.doubles import Clock, ScriptConnection, turns

ECHO: Final = Script("return KEYS[1]")
WRONG_TYPE: Final = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")


class World:
    """Both, with a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.trouble: dict[str, list[Exception]] = {}
        self.connection = ScriptConnection(self._answer)
        self.refused: list[int] = []
        self.link = RedisLink(cast("Redis", self.connection), on_refused=self.refused.append, clock=self.clock)

    def _answer(self, command: list[bytes]) -> object:
        troubles = self.trouble.get(command[3].decode(), [])
        return troubles.pop(0) if troubles else command[3]

    @property
    def sent(self) -> list[list[str]]:
        """The keys of each batch."""
        return [[command[3].decode() for command in batch] for batch in self.connection.batches]

    def start(self, *keys: str) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self.link.run(ECHO, (key,), ())) for key in keys]

    async def on_the_way(self, *keys: str) -> list[asyncio.Task[Any]]:
        """Send these, and hold their answers back."""
        self.connection.answering.clear()
        tasks = self.start(*keys)
        await turns()
        return tasks

    async def run(self, *keys: str) -> list[object]:
        return await self.answers(self.start(*keys))

    async def answers(self, tasks: list[asyncio.Task[Any]]) -> list[object]:
        self.connection.answering.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return [type(answer) if isinstance(answer, BaseException) else answer.decode() for answer in answers]
