"""Run the stand-in world, or a part of it, from the command line."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

from sandbox import numbers, tenants
from sandbox.cluster import serve_cluster
from sandbox.demo import read_cases, run_demo
from sandbox.graph import GraphSimulator
from sandbox.ports import GRAPH_PORT, TENANTS_PORT
from sandbox.processes import ServerError
from sandbox.redis_failover import KINDS
from sandbox.soak import run_soak
from sandbox.soak_cluster import run_cluster_soak
from sandbox.tenants import TenantService
from sandbox.tour import run_tour
from sandbox.up import KEPT_REQUESTS, serve_world, until_signal
from sandbox.worker import WorkerError
from sandbox.world import WorldError, open_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.server import SimulatedServer

    Commands = argparse._SubParsersAction[Any]  # noqa: SLF001, argparse has no public name for it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; Ctrl-C and SIGTERM end it cleanly."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for add in (
        _add_demo,
        _add_tour,
        _add_soak,
        _add_soak_cluster,
        _add_graph,
        _add_tenants,
        _add_up,
        _add_cluster,
        _add_numbers,
    ):
        add(commands)
    options = parser.parse_args(arguments)
    for name in ("aiormq", "aio_pika"):  # they log each connection that the sandbox cuts on purpose
        logging.getLogger(name).setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        return int(options.run(options) or 0)
    except KeyboardInterrupt:
        return 130
    except (ServerError, WorkerError, WorldError) as error:
        print(error, file=sys.stderr)
        return 1


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser("demo", help="real message files through a real worker, and what became of each")
    parser.add_argument("--keep", action="store_true", help="leave the servers' files and the worker's log in .sandbox")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    with open_world(keep=options.keep) as world:
        return 0 if asyncio.run(run_demo(world, read_cases())) else 1


def _add_tour(commands: Commands) -> None:
    parser = commands.add_parser("tour", help="dead letters of three causes, and the commands that bring them back")
    parser.set_defaults(run=_tour)


def _tour(_: argparse.Namespace) -> int:
    with open_world() as world:
        return 0 if asyncio.run(run_tour(world)) else 1


def _add_soak(commands: Commands) -> None:
    parser = commands.add_parser("soak", help="load held while replicas, RabbitMQ and Redis die and come back")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to publish")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second")
    parser.set_defaults(run=_soak)


def _soak(options: argparse.Namespace) -> int:
    with open_world() as world:
        return 0 if asyncio.run(run_soak(world, options.seconds, options.rate)).held else 1


def _add_soak_cluster(commands: Commands) -> None:
    parser = commands.add_parser("soak-cluster", help="load held while a RabbitMQ cluster and Redis fail at random")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long to publish")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second")
    _add_redis(parser)
    parser.add_argument("--seed", type=int, default=1, help="what fails, whom it hits and when; the same for one seed")
    parser.set_defaults(run=_soak_cluster)


def _soak_cluster(options: argparse.Namespace) -> int:
    result = asyncio.run(run_cluster_soak(options.seconds, options.rate, options.redis, options.seed))
    return 0 if result.held else 1


def _add_graph(commands: Commands) -> None:
    parser = _add_simulator(commands, "graph", "the Graph API simulator", numbers.__doc__, port=GRAPH_PORT)
    parser.add_argument("--keep", type=int, default=KEPT_REQUESTS, help="how many requests to remember in full")
    parser.set_defaults(run=lambda options: _serve(GraphSimulator(options.keep), options))


def _add_tenants(commands: Commands) -> None:
    parser = _add_simulator(commands, "tenants", "the Tenant Service simulator", tenants.__doc__, port=TENANTS_PORT)
    parser.add_argument("--required-token", help="answer 401 to any other bearer token")
    parser.set_defaults(run=lambda options: _serve(TenantService(options.required_token), options))


def _add_up(commands: Commands) -> None:
    parser = commands.add_parser("up", help="everything that the worker needs, until Ctrl-C, and how to use it")
    parser.add_argument("--keep", action="store_true", help="leave the servers' files in .sandbox")
    parser.set_defaults(run=_up)


def _add_cluster(commands: Commands) -> None:
    what = "three nodes of RabbitMQ, and a Redis of several servers, until Ctrl-C"
    parser = commands.add_parser("cluster", help=what)
    _add_redis(parser)
    parser.set_defaults(run=lambda options: serve_cluster(options.redis))


def _add_redis(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--redis", choices=list(KINDS), default="sentinel", help="what survives Redis' loss")


def _add_numbers(commands: Commands) -> None:
    parser = commands.add_parser("numbers", help="the magic numbers of the Graph API simulator")
    parser.set_defaults(run=lambda _: print(numbers.__doc__))


def _add_simulator(
    commands: Commands, name: str, what: str, manual: str | None, *, port: int
) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, epilog=manual, formatter_class=raw)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=port)
    return parser


def _serve(server: SimulatedServer, options: argparse.Namespace) -> None:
    async def serve() -> None:
        await server.start(options.host, options.port)
        print(f"listening on {server.url}", flush=True)
        await until_signal()
        await server.stop()

    asyncio.run(serve())


def _up(options: argparse.Namespace) -> None:
    with open_world(keep=options.keep, fixed_ports=True) as world:
        asyncio.run(serve_world(world))


if __name__ == "__main__":
    sys.exit(main())
