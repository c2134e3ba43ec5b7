"""Who may see the page: whoever has `OPERATOR_TOKEN`. Pure.

A browser asks for it by HTTP Basic, the token as the password; a script sends it as a bearer token. So there is no
cookie that another site could use, no form and no session to keep. The page changes nothing, so a request that another
site makes a browser send achieves nothing either.
"""

from __future__ import annotations

import base64
import binascii
import hmac


def may_look(authorization: str | None, token: str) -> bool:
    """Whether the header `Authorization` holds the token. A comparison takes as long wherever the texts differ."""
    scheme, _, credentials = (authorization or "").partition(" ")
    given = {"bearer": _bytes, "basic": _password}.get(scheme.lower(), _nothing)(credentials.strip())
    return hmac.compare_digest(given, token.encode())


def _bytes(credentials: str) -> bytes:
    return credentials.encode(errors="surrogateescape")


def _password(credentials: str) -> bytes:
    """What follows the user's name, which may be any."""
    try:
        return base64.b64decode(_bytes(credentials), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _nothing(_: str) -> bytes:
    return b""
