"""`stream`: what an operator does from the shell.

    stream cache clear                 forget every tenant's credentials
    stream cache invalidate TENANT     forget one tenant's credentials

Needs only `REDIS_URL` (or `REDIS_URL_FILE`): the commands work while everything else is down.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import SecretStr
from redis.exceptions import RedisError

from stream.contract.identifiers import TENANT_ID_PATTERN, TenantId
from stream.redis.availability import RedisAway
from stream.redis.client import connect
from stream.redis.link import RedisLink
from stream.settings.checks import redis_url
from stream.settings.secret_files import file_variable, from_file
from stream.tenants.cache import CredentialCache
from stream.tenants.codec import CredentialCodec

DEFAULT_REDIS_URL: Final = "redis://localhost:6379/0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 could not be done; argparse exits with 2 for unknown arguments.
    """
    options = _parser().parse_args(arguments)
    try:
        url = _redis_url(os.environ)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        print(asyncio.run(_cache(options, url)))
    except (RedisError, OSError, RedisAway) as error:
        print(f"Redis cannot be reached: {error}; check REDIS_URL", file=sys.stderr)
        return 1
    return 0


def _redis_url(environ: Mapping[str, str]) -> str:
    """Redis' address, from the same variables as the worker's.

    Raises:
        ValueError: One sentence that names the variable and the fix, never the value.
    """
    variable = file_variable("REDIS_URL") if environ.get(file_variable("REDIS_URL")) else "REDIS_URL"
    try:
        url = from_file("REDIS_URL", environ) or environ.get("REDIS_URL", DEFAULT_REDIS_URL)
        return redis_url(SecretStr(url)).get_secret_value()
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stream", description="Operate whatsapp-stream.")
    commands = parser.add_subparsers(required=True, metavar="command")
    cache = commands.add_parser("cache", help="the credential cache, shared by all replicas")
    actions = cache.add_subparsers(required=True, dest="action", metavar="action")
    actions.add_parser("clear", help="forget every tenant's credentials")
    invalidate = actions.add_parser("invalidate", help="forget one tenant's credentials")
    invalidate.add_argument("tenant", type=_tenant)
    return parser


def _tenant(value: str) -> TenantId:
    if not re.fullmatch(TENANT_ID_PATTERN, value):
        raise argparse.ArgumentTypeError("not a tenant id: 1 to 128 characters, none of them a control character")
    return TenantId(value)


async def _cache(options: argparse.Namespace, url: str) -> str:
    redis = connect(url)
    try:
        await redis.ping()  # the cache itself continues without Redis; an operator must know
        # Removing an entry needs no key to read it with.
        cache = CredentialCache(RedisLink(redis), CredentialCodec([]))
        if options.action == "clear":
            removed = await cache.clear()
            return f"removed the credentials of {removed} tenant{'' if removed == 1 else 's'}"
        if await cache.invalidate(options.tenant):
            return f"removed the credentials of {options.tenant}"
        return f"no credentials of {options.tenant} are cached"
    finally:
        await redis.aclose()


if __name__ == "__main__":
    sys.exit(main())
