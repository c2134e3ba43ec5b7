"""Delivers ready-made WhatsApp messages from RabbitMQ through Meta's Graph API, for many tenants.

Start reading at `stream.app`, which builds everything, then follow one message through `stream.delivery`:
`subscriber` (bytes in), `processor` (the send), `decision` (what now), `settlement` (publish, then acknowledge).
"""

import sys

__version__ = "0.1.0"

# httpx imports its own command line if its packages are there: 2 MiB that nobody here uses. It can do without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
