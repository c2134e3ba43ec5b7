"""A Graph API that costs almost no CPU: nginx with one fixed answer, or the sandbox's simulator."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import orjson

from sandbox import packages
from sandbox.processes import ServerProcess, answers, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS: Final = 15
BODY: Final = (
    '{"messaging_product":"whatsapp","contacts":[{"input":"+16505551234","wa_id":"16505551234"}],'
    '"messages":[{"id":"wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA"}]}'
)
_TO: Final = re.compile(r'"to":\s*"(\d+)"')

# `return` throws the body away, so a request whose body is to be logged goes through a proxy to the same answer. The
# log has the request's end and its duration: the difference is when its first byte arrived.
CONFIGURATION: Final = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type application/json; keepalive_requests 100000000; keepalive_timeout 300s;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    client_body_in_single_buffer on;
    log_format bodies escape=none '$msec $request_time $request_body';
    upstream itself {{ server 127.0.0.1:{port}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '{body}'; }}
        location = /count {{ stub_status; }}
    }}
    server {{
        listen 127.0.0.1:{logging_port};
        location / {{
            access_log {folder}/bodies.log bodies;
            proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://itself;
        }}
    }}
}}
"""


class NginxGraph:
    """One nginx process that accepts every message.

    Args:
        folder: Where its files go.
    """

    name = "nginx"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._port, self._logging_port = free_ports(2)
        self._asked = 0
        self._read_to = 0
        self._process = ServerProcess("nginx", folder / "nginx.log")
        self.url = f"http://127.0.0.1:{self._port}"
        self.logging_url: str | None = f"http://127.0.0.1:{self._logging_port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        configuration = self._folder / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(folder=self._folder, port=self._port, logging_port=self._logging_port, body=BODY)
        )
        command = [str(_find_nginx()), "-p", str(self._folder), "-c", str(configuration)]
        request = b"GET /x HTTP/1.0\r\n\r\n"
        self._process.start(command, os.environ, lambda: answers(self._port, request, b"HTTP/1.1 200"), START_SECONDS)

    def stop(self) -> None:
        """End it."""
        self._process.kill()

    def requests(self) -> int:
        """How many requests it has had, without those of this method."""
        self._asked += 1
        with urllib.request.urlopen(f"{self.url}/count", timeout=5) as answer:
            total = int(answer.read().split()[9])  # after the heading: accepts, handled, requests
        return total - self._asked

    def arrivals(self) -> dict[str, float]:
        """When each recipient's message arrived at the logging address, in seconds since the epoch."""
        with (self._folder / "bodies.log").open() as lines:
            return dict(each for line in lines if (each := _arrival(line)))

    def new_arrivals(self) -> list[tuple[str, float]]:
        """The recipients and times of the requests at the logging address since the last call, each request once."""
        with (self._folder / "bodies.log").open("rb") as log:
            log.seek(self._read_to)
            whole = log.read().rpartition(b"\n")[0]
        self._read_to += len(whole) + 1 if whole else 0
        return [each for line in whole.decode().splitlines() if (each := _arrival(line))]


def _arrival(line: str) -> tuple[str, float] | None:
    """A request's recipient, and when its first byte arrived; `None` where it was no message."""
    ended, took, body = line.split(" ", 2)
    to = _TO.search(body)
    return (to[1], float(ended) - float(took)) if to else None


class SimulatedGraph:
    """The sandbox's simulator in a process of its own: it takes far more CPU than nginx, from the same cores.

    Args:
        folder: Where its log goes.
    """

    name = "the sandbox's simulator"
    logging_url: str | None = None

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (self._port,) = free_ports(1)
        self._process = ServerProcess("graph", folder / "graph.log")
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "sandbox", "graph", "--port", str(self._port), "--keep", "1"]
        request = b"GET /_sandbox/health HTTP/1.0\r\n\r\n"
        self._process.start(command, os.environ, lambda: answers(self._port, request, b"HTTP/1.0 200"), START_SECONDS)

    def stop(self) -> None:
        """End it."""
        self._process.kill()

    def requests(self) -> int:
        """How many messages it has accepted."""
        with urllib.request.urlopen(f"{self.url}/_sandbox/summary", timeout=5) as answer:
            return int(orjson.loads(answer.read())["accepted"])

    def arrivals(self) -> dict[str, float]:
        """Nothing: it does not report them."""
        return {}

    def new_arrivals(self) -> list[tuple[str, float]]:
        """Nothing, as above."""
        return []


Graph = NginxGraph | SimulatedGraph


@contextmanager
def open_graph(folder: Path) -> Iterator[Graph]:
    """Start nginx, installing it if that is possible here; else the simulator."""
    if _find_nginx() is None and packages.can_install():
        print("installing nginx-light with apt-get")
        with suppress(subprocess.SubprocessError):
            packages.install(["nginx-light"])
    graph: Graph = NginxGraph(folder) if _find_nginx() else SimulatedGraph(folder)
    print(f"Graph API: {graph.name}")
    graph.start()
    try:
        yield graph
    finally:
        graph.stop()


def _find_nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
