"""What a setting's value must be. Each function raises `ValueError` with the fix, never with the value."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from cryptography.fernet import Fernet
from pydantic import SecretStr

from stream.broker.addresses import each_url
from stream.contract.queues import DEAD_LETTER_QUEUE, OWN_PREFIX
from stream.meta.versions import NEWEST, OLDEST_MAJOR
from stream.redis.address import CLUSTER, SENTINEL_OPTIONS, Address

DEFAULT_CREDENTIALS_PATH: Final = "/api/v1/tenants/{tenant_id}/credentials?type=whatsapp"

LEAST_OPERATOR_TOKEN: Final = 16  # characters

# Options on which the worker's own timeouts, retries and scripts do not depend. `decode_responses` and similar ones
# would change the answers that it reads, `socket_timeout` and similar ones how long a message waits for Redis.
_REDIS_OPTIONS: Final = frozenset({"db", "username", "password", "client_name"})
_REDIS_TLS_OPTIONS: Final = frozenset(
    "ssl_" + name
    for name in (
        *("ca_certs", "ca_data", "certfile", "keyfile"),  # all that the oldest allowed redis-py knows
        *("cert_reqs", "check_hostname", "min_version", "ciphers"),
    )
)


def amqp_url(value: SecretStr) -> SecretStr:
    """RabbitMQ's addresses: one, or several that differ in host and port only."""
    addresses = each_url(value.get_secret_value())
    for address in addresses:
        _check_url(address, ("amqp", "amqps"))
    if len({urlsplit(address)._replace(netloc=_login(address)) for address in addresses}) > 1:
        raise ValueError(
            "names several addresses that differ in more than host and port: give all of them the same scheme, login, "
            "vhost and options, or write amqp://user:password@host1:5672,host2:5672/%2Fwhatsapp"
        )
    return value


def intake_queue(value: str) -> str:
    """A queue's name that is no other one's of the worker, and one word of a routing key: a dot would part it."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", value, re.ASCII):
        raise ValueError("must be 1 to 100 letters, digits, - or _")
    if value == DEAD_LETTER_QUEUE or value.startswith(OWN_PREFIX):
        raise ValueError(f"must not be {DEAD_LETTER_QUEUE}, nor begin with {OWN_PREFIX}: these are other queues")
    return value


def redis_url(value: SecretStr) -> SecretStr:
    """Redis' address, with no option that the worker sets itself."""
    address = _redis_address(value.get_secret_value())
    parts = urlsplit(address.server)
    allowed = _REDIS_OPTIONS | (_REDIS_TLS_OPTIONS if parts.scheme == "rediss" else frozenset())
    options = parse_qsl(parts.query, keep_blank_values=True)
    if any(name not in allowed for name, _ in options):
        raise ValueError(
            f"has an option that is not for it: leave in only {', '.join(sorted(_REDIS_OPTIONS))}, with rediss:// "
            f"{', '.join(sorted(_REDIS_TLS_OPTIONS))}, and with redis+sentinel:// "
            f"{', '.join(sorted(SENTINEL_OPTIONS))}; the worker sets the others itself"
        )
    numbers = [parts.path.strip("/"), *(number for name, number in options if name == "db")]
    if not all(re.fullmatch(r"\d*", number, re.ASCII) for number in numbers):
        raise ValueError("must end with the number of a database, like redis://host:6379/0")
    if address.kind == CLUSTER and any(number.strip("0") for number in numbers):
        raise ValueError("names a database, and a Redis Cluster has only the database 0: leave the number out")
    return value


def _redis_address(url: str) -> Address:
    try:
        address = None if _has_spaces(url) else Address.parse(url)
    except ValueError:  # its text may quote the URL, with the password
        address = None
    if address is None:
        raise ValueError(
            "must be a URL like redis://host:port/0, redis+sentinel://host:port,host:port/name-of-master/0 or "
            "redis+cluster://host:port,host:port, or the same with rediss, and without spaces"
        )
    return address


def http_url(value: str) -> str:
    """A service's base URL, which is required."""
    if not value:
        raise ValueError("required: set it to the service's base URL, e.g. http://tenants:3000")
    _check_url(value, ("http", "https"))
    return value


def optional_http_url(value: str) -> str:
    """A service's base URL, or nothing."""
    return http_url(value) if value else value


def credentials_path(value: str) -> str:
    """Where a tenant's credentials are."""
    if not value.startswith("/") or "{tenant_id}" not in value or _has_spaces(value):
        raise ValueError(f"must start with / and hold {{tenant_id}}, like {DEFAULT_CREDENTIALS_PATH}, without spaces")
    return value


def bearer_token(value: SecretStr | None) -> SecretStr | None:
    """A token that a header can carry; an empty one is none."""
    if value is None or not value.get_secret_value():
        return None
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("holds a space, a line break or a letter that no header can carry: set the token alone")
    return value


def operator_token(value: SecretStr | None) -> SecretStr | None:
    """A token that nobody can guess; an empty one is none."""
    token = bearer_token(value)
    if token and len(token.get_secret_value()) < LEAST_OPERATOR_TOKEN:
        raise ValueError(f"is shorter than {LEAST_OPERATOR_TOKEN} characters: make one with openssl rand -hex 32")
    return token


def fernet_keys(value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    """Keys for the cached credentials."""
    for number, key in enumerate(value, start=1):
        try:
            Fernet(key.get_secret_value())
        except ValueError:
            raise ValueError(
                f"key {number} is not a Fernet key: make one with "
                'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
            ) from None
    return value


def graph_version(value: str) -> str:
    """A version of the Graph API that Meta had not retired when this worker was made."""
    if not (found := re.fullmatch(r"v([1-9]\d{0,2})\.(0|[1-9]\d?)", value, re.ASCII)):
        raise ValueError(f"must look like {NEWEST}")
    if int(found[1]) < OLDEST_MAJOR:
        raise ValueError(f"Meta has retired this version: set {NEWEST}")
    return value


def _check_url(value: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and not _has_spaces(value)
    except ValueError:  # its text may quote the value, with the password
        usable = False
    if not usable:
        raise ValueError(
            f"must be a URL like {schemes[0]}://host:port/…, with scheme {' or '.join(schemes)} and without spaces"
        )


def _login(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[0]


def _has_spaces(value: str) -> bool:
    """Also line breaks and control characters, which `urlsplit` drops without an error."""
    return re.search(r"[\s\x00-\x1f\x7f]", value) is not None
