"""How the worker reaches Redis: a client that gives up quickly, whatever `REDIS_URL` names."""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.redis.address import CLUSTER, SENTINEL, Address
from stream.redis.cluster import Cluster, cluster_of
from stream.redis.sentinels import master_of

TIMEOUT_S: Final = 1.0
MOST_S: Final = 2 * TIMEOUT_S  # of a command to a cluster
TRIES: Final = 4

Client = Redis | Cluster


def connect(url: str) -> Client:
    """A client that gives up quickly.

    One immediate retry, because a pooled connection may have died while it was idle; redis-py's own default would
    hold a message for up to ten seconds.
    """
    lost = (RedisConnectionError,)
    client = _client(url, Retry(NoBackoff(), 1, supported_errors=lost), lost)
    if isinstance(client, Cluster):
        client.most_s = MOST_S
    return client


def connect_patiently(url: str) -> Client:
    """A client for whoever can wait: it tries `TRIES` times within five seconds.

    A command that timed out may have run: this is for those that may run twice.
    """
    lost = (RedisConnectionError, RedisTimeoutError)
    backoff = ExponentialBackoff(cap=TIMEOUT_S, base=0.1)
    return _client(url, Retry(backoff, TRIES - 1, supported_errors=lost), lost)


def _client(url: str, retry: Retry, lost: tuple[type[Exception], ...]) -> Client:
    terms: dict[str, Any] = {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "retry": retry,
        "retry_on_error": list(lost),  # redis-py before 6 retries only the errors named here
    }
    address = Address.parse(url)
    if address.kind == SENTINEL:
        return master_of(address, TIMEOUT_S, **terms)
    return cluster_of(address, **terms) if address.kind == CLUSTER else Redis.from_url(url, **terms)
