"""Delivers ready-made WhatsApp messages from RabbitMQ through Meta's Graph API, for many tenants.

Start reading at `stream.app`, which builds everything, then follow one message through `stream.delivery`:
`subscriber` (bytes in), `processor` (the send), `decision` (what now), `settlement` (publish, then acknowledge).
"""

import sys
from importlib import import_module

__version__ = "0.1.0"


def _import_without(unused: str, package: str) -> None:
    """Import a package as if another one, which it can do without, were not installed.

    Args:
        unused: What `package` would import, and uses for nothing that is done here. Others may import it later.
        package: What is imported.
    """
    if unused not in sys.modules:
        sys.modules[unused] = None  # type: ignore[assignment] # the import system's sign that there is none
        import_module(package)
        del sys.modules[unused]


# What libraries load if it is there, and nobody here uses: 9 MiB of the 101 that the imports take on Python 3.14.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # httpx' command line
_import_without("rich", "structlog")  # coloured tracebacks
_import_without("opentelemetry.sdk.metrics", "redis")  # redis-py's own metrics
