"""Arguments that several commands take."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from stream.contract.identifiers import TENANT_ID_PATTERN, TenantId


def tenant_id(value: str) -> TenantId:
    """Read what names a tenant.

    Raises:
        typer.BadParameter: It cannot be one.
    """
    if not re.fullmatch(TENANT_ID_PATTERN, value):
        raise typer.BadParameter("not a tenant id: 1 to 128 characters, none of them a control character")
    return TenantId(value)


Tenant = Annotated[TenantId, typer.Argument(parser=tenant_id, metavar="TENANT")]
