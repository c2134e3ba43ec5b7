"""What RabbitMQ and Redis use, by the kernel's clocks."""

from __future__ import annotations

from bench import usage
from sandbox.processes import PrivateServer
from sandbox.world import World


class ServerClocks:
    """Reads the CPU time of servers that are processes of our own.

    Args:
        world: The servers of this run.
    """

    def __init__(self, world: World) -> None:
        self._rabbitmq, self._redis = world.rabbitmq, world.redis

    def cpu_ms(self) -> tuple[float, float] | None:
        """CPU time of RabbitMQ and of Redis so far, in milliseconds; `None` where one of them is not ours."""
        if isinstance(self._rabbitmq, PrivateServer) and isinstance(self._redis, PrivateServer):
            return usage.tree_cpu_ms(self._rabbitmq.pid), usage.tree_cpu_ms(self._redis.pid)
        return None
