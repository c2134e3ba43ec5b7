"""TLS to Sentinels, to the master that they name, and to each master of a Redis Cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sandbox.certificates import ServerCertificate, issue
from sandbox.processes import free_ports
from sandbox.redis import PrivateRedis
from sandbox.redis_cli import cli, wait_until
from sandbox.redis_failover import MASTER, Sentinel
from sandbox.world import World
from stream.contract.identifiers import Wamid
from stream.delivery.claim import AlreadySent, Claim, Granted
from stream.delivery.claims import Claims
from stream.delivery.ledger import SentLedger
from stream.meta.client import Accepted
from stream.redis.client import connect
from stream.redis.link import RedisLink
from tests.scene import unique
from tests.unit.doubles import message

ACCEPTED = Accepted(Wamid("wamid.A"), "16505551234", None, 200)
PASSWORD, OF_SENTINEL = "password-of-redis", "password-of-sentinel"
TENANTS = 12  # enough for keys on each master


@dataclass(frozen=True)
class Secured:
    """Servers of one kind with TLS: their URL up to the authority to trust, the right one and a wrong one."""

    url: str
    trusted: ServerCertificate
    stranger: ServerCertificate


@contextmanager
def sentinel(folder: Path, certificate: ServerCertificate) -> Iterator[str]:
    with (
        PrivateRedis(folder / "master", certificate=certificate, password=PASSWORD) as master,
        Sentinel(
            folder / "sentinel", ("127.0.0.1", master.tls_port), PASSWORD, OF_SENTINEL, certificate=certificate
        ) as one,
    ):
        yield (
            f"rediss+sentinel://:{PASSWORD}@127.0.0.1:{one.tls_port}/{MASTER}/0"
            f"?sentinel_password={OF_SENTINEL}&ssl_ca_certs="
        )


def node_is_whole(node: PrivateRedis) -> bool:
    return "cluster_state:ok" in cli(node.port, "cluster", "info")


@contextmanager
def cluster(folder: Path, certificate: ServerCertificate) -> Iterator[str]:
    buses = [str(port) for port in free_ports(2)]
    first, second = (
        PrivateRedis(
            folder / f"node-{bus}",
            certificate=certificate,
            options={"--cluster-enabled": "yes", "--cluster-port": bus, "--tls-cluster": "yes"},
        )
        for bus in buses
    )
    with first, second:
        cli(first.port, "cluster", "addslotsrange", "0", "8191")
        cli(second.port, "cluster", "addslotsrange", "8192", "16383")
        cli(first.port, "cluster", "meet", "127.0.0.1", str(second.tls_port), buses[1])
        wait_until(lambda: all(node_is_whole(node) for node in (first, second)), "the two know a whole cluster")
        yield f"rediss+cluster://127.0.0.1:{first.tls_port}?ssl_ca_certs="


@pytest.fixture(scope="module", params=[sentinel, cluster], ids=["sentinel", "cluster"])
def secured(world: World, request: pytest.FixtureRequest) -> Iterator[Secured]:
    if not PrivateRedis.installed():
        pytest.skip("needs redis-server on this machine, to give it a certificate")
    folder = world.base_dir / unique("secured")
    trusted, stranger = issue(folder / "trusted"), issue(folder / "stranger")
    with request.param(folder, trusted) as url:
        yield Secured(url, trusted, stranger)


async def claim(link: RedisLink, tenant: str) -> Claim:
    claims = Claims(link, replica="here", lease_s=60, ttl_ms=60_000, most_doubts=2)
    keys = claims.keys(message(tenantId=tenant))
    return await claims.claim(keys, "one", "number:1", send_again=True, need_credentials=False)


async def test_a_message_is_claimed_and_recorded_over_tls(secured: Secured) -> None:
    link = RedisLink(connect(f"{secured.url}{secured.trusted.authority}"))
    ledger = SentLedger(link, ttl_ms=60_000)
    for tenant in (unique("tenant") for _ in range(TENANTS)):
        assert await claim(link, tenant) == Granted(None)
        key, *_ = Claims(link, replica="here", lease_s=60, ttl_ms=60_000, most_doubts=2).keys(message(tenantId=tenant))
        await ledger.record_sent(key, ACCEPTED, claimed=True, after_unknown=False)
        assert await claim(link, tenant) == AlreadySent(ACCEPTED)
    await link.aclose()


async def test_a_redis_of_another_authority_is_not_used_and_the_log_says_why(secured: Secured) -> None:
    link = RedisLink(connect(f"{secured.url}{secured.stranger.authority}"))
    with capture_logs() as logs:
        assert await claim(link, unique("tenant")) == Granted(None, recorded=False)
    (line,) = [line for line in logs if line["event"] == "redis_away"]
    assert "CERTIFICATE_VERIFY_FAILED" in line["error"]
    assert not any(password in line["error"] for password in (PASSWORD, OF_SENTINEL))
    await link.aclose()
