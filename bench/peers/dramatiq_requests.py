"""Dramatiq and requests.

Settings from Dramatiq's documentation: one process for one core, and as many threads as sends at once ("User Guide",
workers: `--processes`, `--threads`); it reads ahead two messages a thread ("API Reference", environment variables), has
its default middleware, and acknowledges after the actor. Requests: as in `celery_requests.py`.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import dramatiq
import requests
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench.peers.job import QUEUE, log_sent, request_of

dramatiq.set_broker(RabbitmqBroker(url=os.environ["RABBITMQ_URL"]))
_of_thread = threading.local()


@dramatiq.actor(actor_name="deliver", queue_name=QUEUE)
def deliver(content: dict[str, Any]) -> None:
    """Send one message."""
    if not hasattr(_of_thread, "session"):
        _of_thread.session = requests.Session()
    url, headers, body = request_of(content)
    answer = _of_thread.session.post(url, json=body, headers=headers, timeout=10)
    answer.raise_for_status()
    log_sent(content, answer.json())
