"""Scripts that are sent to Redis in batches.

Every message runs scripts. If no batch is on its way, a script is sent at once; scripts that come while a batch is on
its way are sent together as the next batch. A command costs mostly its write and its read; a batch needs one of each.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from hiredis import pack_command  # it comes with redis[hiredis]; redis-py's own packs in Python
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from stream.redis.availability import Availability, RedisAway
from stream.redis.client import TIMEOUT_S
from stream.redis.connection import BatchConnection

MOST_IN_BATCH: Final = 64  # Redis runs them in about 1 ms, and their answers fit into one read of redis-py, 64 KiB

Part = str | bytes | int
pack: Final = cast("Callable[[tuple[Part, ...]], bytes]", pack_command)  # its stub knows tuples of one part only


class Script:
    """A Lua script, and the name under which Redis keeps it.

    Running it twice with the same arguments must do no harm: see `ScriptBatches.send`.

    Args:
        text: Its source.
    """

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


@dataclass(slots=True, eq=False)
class _Command:
    """One run of a script, and the caller that waits for it.

    Attributes:
        script: What runs.
        arguments: As Redis expects them: the number of keys, the keys, the rest.
        packed: What is written to the socket.
        answer: What its caller waits for; already done if the caller was cancelled.
        whole: The script's text is sent too, because Redis did not know its name.
        lost: It was sent once, and no answer came.
    """

    script: Script
    arguments: tuple[Part, ...]
    packed: bytes
    answer: asyncio.Future[Any]
    whole: bool = False
    lost: bool = False

    def bring_script(self) -> None:
        """Send the script's text next time; Redis then keeps it."""
        self.whole = True
        self.packed = pack((b"EVAL", self.script.text, *self.arguments))

    def fail(self, error: Exception) -> None:
        """Raise `RedisAway` at the caller, if it still waits."""
        self.pass_on(RedisAway.because(error, may_have_run=self.lost))

    def pass_on(self, error: Exception) -> None:
        """Raise this at the caller, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class ScriptBatches:
    """Sends batch after batch, one at a time, while there is something to send.

    Args:
        connection: What the batches are sent on.
        availability: Notes how each batch ended.
        passed_on: Refusals that the caller gets as they are, and that say nothing about the server.
    """

    def __init__(
        self,
        connection: BatchConnection,
        availability: Availability,
        passed_on: tuple[type[ResponseError], ...] = (),
    ) -> None:
        self._connection = connection
        self._availability = availability
        self._passed_on = passed_on
        self._waiting: deque[_Command] = deque()
        self._sender: asyncio.Task[None] | None = None

    def send(self, script: Script, keys: tuple[str, ...], args: tuple[Part, ...]) -> asyncio.Future[Any]:
        """Put a script into the next batch.

        It may run twice: a connection that breaks before the answer does not say whether Redis got the command. When
        the answer is cancelled while the command waits, it is taken back; once it has left, it runs.

        Args:
            script: What to run.
            keys: Its `KEYS`.
            args: Its `ARGV`.

        Returns:
            Where its answer will be; it raises `RedisAway` if Redis cannot be reached or refuses this command.
        """
        arguments = (len(keys), *keys, *args)
        packed = pack((b"EVALSHA", script.sha, *arguments))
        command = _Command(script, arguments, packed, asyncio.get_running_loop().create_future())
        self._waiting.append(command)
        if self._sender is None:
            # It starts in the event loop's next round, together with everything that this round adds.
            self._sender = asyncio.create_task(self._send_all())
        return command.answer

    async def aclose(self) -> None:
        """Stop; callers that still wait for an answer get `RedisAway`."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])
        self._give_up([], RedisConnectionError("closed"))  # a task that was cancelled before it began did not

    async def _send_all(self) -> None:
        """Send until nothing waits. Raises nothing but its own cancellation."""
        batch: list[_Command] = []
        try:
            while batch := self._next_batch():
                refused = self._settle(batch, await self._exchange(batch))
                if not self._availability.note_refusals(refused):
                    await self._connection.drop_all()
        except asyncio.CancelledError:
            self._give_up(batch, RedisConnectionError("closed"))
            raise
        except Exception as error:  # noqa: BLE001 - no caller may wait for ever, whatever the error is
            self._availability.note_away(error)
            self._give_up(batch, error)
        finally:
            self._sender = None

    def _next_batch(self) -> list[_Command]:
        batch: list[_Command] = []
        while self._waiting and len(batch) < MOST_IN_BATCH:
            command = self._waiting.popleft()
            if not command.answer.done():  # else its caller was cancelled, and would not learn the result
                batch.append(command)
        return batch

    async def _exchange(self, batch: list[_Command]) -> list[Any]:
        """Send a batch, once more if its connection has died: an idle connection may die unnoticed.

        Returns:
            An answer for each command, in their order; a `ResponseError` where Redis refused one.

        Raises:
            RedisError: Redis cannot be reached.
            TimeoutError: It did not answer within `TIMEOUT_S`.
        """
        try:
            return await self._exchange_once(batch)
        except RedisConnectionError:
            # Some or all may have run already, which `Script` allows. In the ledger, a claim by the same owner renews
            # the lease, "sent" stays "sent", and the other two scripts find that the claim is no longer theirs.
            return await self._exchange_once(batch)

    async def _exchange_once(self, batch: list[_Command]) -> list[Any]:
        leaving = False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._connection.open()
                leaving = True
                return await self._connection.exchange([command.packed for command in batch])
        except BaseException:
            for command in batch:
                command.lost |= leaving
            await self._connection.drop()
            raise

    def _settle(self, batch: list[_Command], answers: list[Any]) -> list[ResponseError]:
        """Give each command its answer.

        Returns:
            The refusals: each goes to its own caller only, but may mean that nothing can use Redis now.
        """
        refused: list[ResponseError] = []
        for command, answer in zip(batch, answers, strict=True):
            if isinstance(answer, NoScriptError) and not command.whole:
                command.bring_script()
                self._waiting.append(command)
            elif isinstance(answer, ResponseError):
                self._refuse(command, answer, refused)
            elif not command.answer.done():
                command.answer.set_result(answer)
        return refused

    def _refuse(self, command: _Command, answer: ResponseError, refused: list[ResponseError]) -> None:
        if isinstance(answer, self._passed_on):
            command.pass_on(answer)
        else:
            refused.append(answer)
            command.fail(answer)

    def _give_up(self, batch: list[_Command], reason: Exception) -> None:
        """Fail a batch and the commands behind it: they would fail too, each only after a timeout."""
        for command in (*batch, *self._waiting):
            command.fail(reason)
        self._waiting.clear()
