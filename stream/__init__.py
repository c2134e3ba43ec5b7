"""Delivers ready-made WhatsApp messages from RabbitMQ through Meta's Graph API, for many tenants.

Start reading at `stream.app`, which builds everything, then follow one message through `stream.delivery`:
`subscriber` (bytes in), `processor` (the send), `decision` (what now), `settlement` (publish, then acknowledge).
"""

__version__ = "0.1.0"
