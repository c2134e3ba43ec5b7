"""`stream cache`: the credential cache, shared by all replicas. Needs Redis alone."""

from __future__ import annotations

import typer

from stream.contract.identifiers import TenantId
from stream.operations.arguments import Tenant
from stream.operations.exits import run
from stream.operations.output import Json, say
from stream.operations.redis_link import redis_link
from stream.tenants.cache import CredentialCache
from stream.tenants.codec import CredentialCodec

app = typer.Typer(help="The credential cache, shared by all replicas.")


@app.command(epilog="Example: stream cache clear")
def clear(*, as_json: Json = False) -> None:
    """Forget every tenant's credentials."""
    removed = run(_clear())
    text = f"removed the credentials of {removed} tenant{'' if removed == 1 else 's'}"
    say(text, {"removed": removed}, as_json=as_json)


@app.command(epilog="Example: stream cache invalidate acme")
def invalidate(tenant: Tenant, *, as_json: Json = False) -> None:
    """Forget one tenant's credentials."""
    removed = run(_invalidate(tenant))
    text = f"removed the credentials of {tenant}" if removed else f"no credentials of {tenant} are cached"
    say(text, {"tenantId": tenant, "removed": int(removed)}, as_json=as_json)


async def _clear() -> int:
    async with redis_link() as link:
        return await CredentialCache(link, CredentialCodec([])).clear()  # to remove an entry needs no key


async def _invalidate(tenant: TenantId) -> bool:
    async with redis_link() as link:
        return await CredentialCache(link, CredentialCodec([])).invalidate(tenant)
