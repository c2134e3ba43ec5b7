"""What `REDIS_URL` names: one server, the master that Sentinels know, or a Redis Cluster. Nothing connects here.

    redis://user:password@host:6379/0
    redis+sentinel://user:password@sentinel-1:26379,sentinel-2:26379/mymaster/0?sentinel_password=…
    redis+cluster://user:password@node-1:6379,node-2:6379

`rediss` in place of `redis` is TLS to each of them. The login is Redis'; the Sentinels' own is two options.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

SENTINEL, CLUSTER = "sentinel", "cluster"
USUAL_PORTS: Final = {"": 6379, SENTINEL: 26379, CLUSTER: 6379}
SENTINEL_OPTIONS: Final = frozenset({"sentinel_username", "sentinel_password"})


@dataclass(frozen=True, slots=True)
class Address:
    """A URL in parts.

    Attributes:
        kind: `SENTINEL`, `CLUSTER`, or empty for one server.
        hosts: Host and port of each Sentinel, of some nodes of the cluster, or of the server.
        master: What the Sentinels call it; empty without Sentinels.
        server: The rest as the URL of one server: login, database and options.
        sentinel_login: `username` and `password` for the Sentinels, if they want any.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...]
    master: str
    server: str = field(repr=False)
    sentinel_login: dict[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take a URL apart.

        Raises:
            ValueError: It is none of the three. The text may quote the URL, with its password.
        """
        scheme, _, rest = url.partition("://")
        authority = re.split("[/?#]", rest, maxsplit=1)[0]
        login, at, listed = authority.rpartition("@")
        # With one host: Python 3.14 takes no host in brackets behind another one.
        parts = urlsplit(f"{scheme}://{login}{at}{listed.split(',')[0]}{rest[len(authority) :]}")
        plain, _, kind = parts.scheme.partition("+")
        if plain not in {"redis", "rediss"} or kind not in USUAL_PORTS:
            raise ValueError("another scheme")
        hosts = tuple(_host(each, USUAL_PORTS[kind]) for each in (listed.split(",") if kind else [listed]))
        if not kind:
            return cls(kind, hosts, "", url, {})
        master, path = _master(parts.path) if kind == SENTINEL else ("", parts.path)
        options, sentinel_login = _options(parts.query, kind)
        server = SplitResult(plain, parts.netloc, path, urlencode(options), "").geturl()
        return cls(kind, hosts, master, server, sentinel_login)


def _host(text: str, usual_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.port == 0:
        raise ValueError("no host, or port 0")
    return parts.hostname, parts.port or usual_port


def _master(path: str) -> tuple[str, str]:
    """The master's name, and what follows it."""
    master, _, rest = path.strip("/").partition("/")
    if not master:
        raise ValueError("no name of a master")
    return master, rest


def _options(query: str, kind: str) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Those of the server, and the login of the Sentinels."""
    every = parse_qsl(query, keep_blank_values=True)
    own = SENTINEL_OPTIONS if kind == SENTINEL else frozenset()
    login = {name.removeprefix("sentinel_"): value for name, value in every if name in own}
    return [(name, value) for name, value in every if name not in own], login
