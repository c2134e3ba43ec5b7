"""Which proxy leads to a URL: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, as most programs read them.

aiohttp would read them too (`trust_env`), but in a thread for each request, and with `~/.netrc`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.request import getproxies, proxy_bypass

from yarl import URL

SCHEMES: Final = ("https", "http")


def proxy_for(url: URL) -> URL | None:
    """The proxy for a URL, with its user and password if it has any; `None` to go there directly."""
    if proxy_bypass(f"{url.host}:{url.port}"):
        return None
    proxy = _proxies().get(url.scheme)
    return URL(proxy) if proxy else None


def wrong_proxies() -> Iterator[tuple[str, str]]:
    """Each variable whose value is no proxy that can be used, and the fix; the value may hold a password."""
    for scheme, proxy in _proxies().items():
        try:
            url = URL(proxy)
            usable = url.scheme in SCHEMES and bool(url.host)
        except ValueError:
            usable = False
        if not usable:
            yield f"{scheme.upper()}_PROXY", "must be a URL like http://proxy:3128"


def _proxies() -> dict[str, str]:
    found = getproxies()
    return {scheme: _with_scheme(found[scheme]) for scheme in SCHEMES if found.get(scheme)}


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"
