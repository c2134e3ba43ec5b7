"""The one connection to Redis, and what it means that it is away.

Redis makes the worker better (shared credentials, no message twice), never possible: while it is away, messages are
delivered without it. Its absence is found out once a second by one caller; the others do not wait for it.

Every message runs scripts, so they travel in batches: one that finds no batch on the way leaves at once, those that
come meanwhile leave together as the next. Most of a command's price is that of its write and its read, and a batch
pays those once.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from hiredis import pack_command  # it comes with redis[hiredis]; redis-py's own packs in Python
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

TIMEOUT_S: Final = 1.0
PROBE_EVERY_S: Final = 1.0
MOST_IN_BATCH: Final = 64  # Redis runs them in about 1 ms, and their answers fit into one read of redis-py, 64 KiB
PROBE_KEY: Final = "whatsapp-stream:probe"
KEYS_OWN_FAULT: Final = ("WRONGTYPE", "user_script:")  # how errors begin that lie in what a key holds

log = structlog.get_logger(__name__)


class RedisAway(Exception):  # noqa: N818 - a state, not a fault of the caller
    """Redis cannot be reached: the caller goes on without it.

    Args:
        reason: Why, for people.
        may_have_run: The script left, and its answer was lost: Redis may have run it.
    """

    def __init__(self, reason: str = "", *, may_have_run: bool = False) -> None:
        super().__init__(reason)
        self.may_have_run = may_have_run


class Script:
    """A Lua script, and the name under which Redis remembers it.

    It must do no harm when it runs twice with the same arguments: see `RedisLink.run`.

    Args:
        text: Its source.
    """

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


# A write, since a full Redis or a replica would answer to a read, and be of no use all the same.
_PROBE: Final = Script("return redis.call('SET', KEYS[1], '1', 'PX', 1000)")


@dataclass(slots=True, eq=False)
class _Command:
    """A run of a script that somebody waits for.

    Attributes:
        script: What runs.
        arguments: As Redis wants them: the number of keys, the keys, the rest.
        packed: What is written to the socket.
        answer: Where its caller waits; done before its time if the caller has gone.
        whole: The script's text travels with it, since Redis did not know its name.
        lost: It has left once, and no answer came.
    """

    script: Script
    arguments: tuple[str | bytes | int, ...]
    packed: bytes
    answer: asyncio.Future[Any]
    whole: bool = False
    lost: bool = False

    def bring_script(self) -> None:
        """Send the script's text next time; Redis remembers it then."""
        self.whole = True
        self.packed = _packed(b"EVAL", self.script.text, *self.arguments)

    def fail(self, error: Exception) -> None:
        """Tell the caller, if he is still there, that he must go on without Redis."""
        if not self.answer.done():
            self.answer.set_exception(_away(error, may_have_run=self.lost))


def connect(url: str) -> Redis:
    """A client that gives up quickly.

    One immediate retry, because a pooled connection may have died while it was idle; redis-py's own default would
    hold a message for up to ten seconds.
    """
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        retry_on_error=[RedisConnectionError],  # redis-py before 6 retries nothing that is not named here too
    )


class RedisLink:
    """Asks Redis, and remembers whether it is away.

    Args:
        redis: The client.
        on_refused: Told how many commands were refused for what their keys hold.
        clock: Seconds, for the pause between probes.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        on_refused: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.redis = redis
        self._on_refused = on_refused
        self._clock = clock
        self._away_since: float | None = None
        self._next_probe = 0.0
        self._closed = False
        self._waiting: deque[_Command] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None

    @property
    def away(self) -> bool:
        """Whether the last word of Redis was none."""
        return self._away_since is not None

    async def ask(self, command: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Run a command of the client, on its own.

        Raises:
            RedisAway: It cannot be reached, or was found so less than a second ago.
        """
        self._enter()
        try:
            answer = await command(*args, **options)
        except ResponseError as error:
            await self._note_refusals([error])
            raise _away(error) from None
        except (RedisError, OSError) as error:
            self._note_away(error)
            raise _away(error) from None
        self._note_there()
        return answer

    async def run(self, script: Script, keys: tuple[str, ...], args: tuple[str | bytes | int, ...]) -> Any:
        """Run a script, together with what others run at the same time.

        It may run twice: a connection that breaks before the answer does not say whether Redis got the command. A
        caller that is cancelled while its command waits takes it back; once it has left, it runs.

        Args:
            script: What to run.
            keys: Its `KEYS`.
            args: Its `ARGV`.

        Raises:
            RedisAway: Redis cannot be reached, was found so less than a second ago, or refuses this command; it says
                whether the script may have run all the same.
        """
        self._enter()
        arguments = (len(keys), *keys, *args)
        packed = _packed(b"EVALSHA", script.sha, *arguments)
        command = _Command(script, arguments, packed, asyncio.get_running_loop().create_future())
        self._waiting.append(command)
        if self._sender is None:
            # It starts in the loop's next round, with all that this round still adds.
            self._sender = asyncio.create_task(self._send_all())
        return await command.answer

    async def watch(self) -> None:
        """Ask at once, then every second while Redis is away, for ever: its state is known without any message."""
        due = True
        while True:
            if due:
                with suppress(RedisAway):
                    await self.run(_PROBE, (PROBE_KEY,), ())
            await asyncio.sleep(PROBE_EVERY_S)
            due = self.away

    async def aclose(self) -> None:
        """Close the client; whoever still waits for an answer gets `RedisAway`."""
        self._closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])
        self._give_up([], RedisConnectionError("closed"))  # a task that was cancelled before it began did not
        await self.redis.aclose()

    async def _send_all(self) -> None:
        """Send batch after batch while there is something to send. Raises nothing but its own cancellation."""
        batch: list[_Command] = []
        try:
            while batch := self._next_batch():
                refused = self._settle(batch, await self._exchange(batch))
                await self._note_refusals(refused)
        except asyncio.CancelledError:
            self._give_up(batch, RedisConnectionError("closed"))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be left waiting
            self._note_away(error)
            self._give_up(batch, error)
        finally:
            self._sender = None

    def _next_batch(self) -> list[_Command]:
        batch: list[_Command] = []
        while self._waiting and len(batch) < MOST_IN_BATCH:
            command = self._waiting.popleft()
            if not command.answer.done():  # else its caller has gone, and would never learn what it did
                batch.append(command)
        return batch

    async def _exchange(self, batch: list[_Command]) -> list[Any]:
        """Send a batch, once more if its connection has died, which an idle one does unnoticed.

        Returns:
            An answer for each command, in their order; a `ResponseError` where Redis refused one.

        Raises:
            RedisError: Redis cannot be reached.
            TimeoutError: It did not answer within `TIMEOUT_S`.
        """
        try:
            return await self._exchange_once(batch)
        except RedisConnectionError:
            # Some or all may have run already. That is what `Script` asks of every script: of the ledger's, a claim by
            # the same owner renews it, what is sent stays sent, and the other two find the claim no longer theirs.
            return await self._exchange_once(batch)

    async def _exchange_once(self, batch: list[_Command]) -> list[Any]:
        connection = self._connection = self._connection or self._take_connection()
        answers: list[Any] = []
        leaving = False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if not connection.is_connected:
                    await connection.connect()  # type: ignore[no-untyped-call]
                leaving = True
                await connection.send_packed_command([command.packed for command in batch])
                for _ in batch:
                    try:
                        answers.append(await connection.read_response())
                    except ResponseError as error:
                        answers.append(error)
        except BaseException:
            for command in batch:
                command.lost |= leaving
            # An answer that is still to come would be taken for the next batch's.
            await connection.disconnect(nowait=True)
            raise
        return answers

    def _take_connection(self) -> AbstractConnection:
        """Take a connection out of the pool for good; the pool closes it with the others.

        A level below redis-py's pipeline, a command costs a third: a pipeline takes and returns a connection for each
        batch, and sets and clears a timeout for each answer. Here a batch has one, over everything.
        """
        connection: AbstractConnection = self.redis.connection_pool.get_available_connection()  # type: ignore[no-untyped-call]
        connection.socket_timeout = None
        return connection

    def _settle(self, batch: list[_Command], answers: list[Any]) -> list[ResponseError]:
        """Give each its answer.

        Returns:
            The refusals: each is its own caller's alone, but may say that Redis is of no use to anyone.
        """
        refused: list[ResponseError] = []
        for command, answer in zip(batch, answers, strict=True):
            if isinstance(answer, NoScriptError) and not command.whole:
                command.bring_script()
                self._waiting.append(command)
            elif isinstance(answer, ResponseError):
                refused.append(answer)
                command.fail(answer)
            elif not command.answer.done():
                command.answer.set_result(answer)
        return refused

    async def _note_refusals(self, refused: list[ResponseError]) -> None:
        """Read-only, full, no permission: as good as away. A key of another type: its message's trouble only."""
        for error in refused:
            if not str(error).startswith(KEYS_OWN_FAULT):
                self._note_away(error)
                await self._disconnect()
                return
        if refused:
            self._on_refused(len(refused))
            log.warning("redis_refused", error=str(refused[0]), commands=len(refused))
        self._note_there()

    async def _disconnect(self) -> None:
        """Let the next probe connect anew: after a failover, the name leads to another server than it did."""
        with suppress(RedisError, OSError):
            if self._connection is not None:
                await self._connection.disconnect(nowait=True)
            await self.redis.connection_pool.disconnect(inuse_connections=False)

    def _give_up(self, batch: list[_Command], reason: Exception) -> None:
        """Fail a batch and those behind it, who would only find out the same, each a timeout later."""
        for command in (*batch, *self._waiting):
            command.fail(reason)
        self._waiting.clear()

    def _enter(self) -> None:
        """Let one caller a second find out whether Redis is back.

        Raises:
            RedisAway: It was found so less than a second ago, or the link is closed.
        """
        if self._closed:
            raise RedisAway("closed")
        if self._away_since is None:
            return
        now = self._clock()
        if now < self._next_probe:
            raise RedisAway
        self._next_probe = now + PROBE_EVERY_S

    def _note_there(self) -> None:
        if self._away_since is not None:
            log.warning("redis_back", awayS=round(self._clock() - self._away_since, 1))
            self._away_since = None

    def _note_away(self, error: Exception) -> None:
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
            log.warning(
                "redis_away",
                error=f"{type(error).__name__}: {error}",
                consequence="credentials are kept locally, and a message that is delivered again may be sent again",
            )
        self._next_probe = now + PROBE_EVERY_S


def _packed(*parts: str | bytes | int) -> bytes:
    packed: bytes = pack_command(parts)  # type: ignore[arg-type]  # its stub knows tuples of one part only
    return packed


def _away(error: Exception, *, may_have_run: bool = False) -> RedisAway:
    return RedisAway(f"{type(error).__name__}: {error}", may_have_run=may_have_run)
