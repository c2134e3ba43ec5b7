"""Celery and requests, in a pool of threads or of processes; the command line says which.

Settings from Celery's documentation: acknowledged after the task ("Optimizing", reserve one task at a time:
`task_acks_late`); results that nobody wants are not kept ("Tasks", tips: `task_ignore_result`); more threads or
processes than cores for I/O ("Configuration and defaults": `worker_concurrency`). From that of requests: a `Session`
keeps connections alive ("Advanced Usage"); here one for each thread.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import requests
from celery import Celery
from kombu import Queue

from bench.peers.job import QUEUE, log_sent, request_of

app = Celery("peer", broker=os.environ["RABBITMQ_URL"])
app.conf.update(task_acks_late=True, task_ignore_result=True, task_queues=[Queue(QUEUE, no_declare=True)])
_of_thread = threading.local()


def post(content: dict[str, Any]) -> str:
    """Send one message.

    Returns:
        Its WAMID.
    """
    if not hasattr(_of_thread, "session"):
        _of_thread.session = requests.Session()
    url, headers, body = request_of(content)
    answer = _of_thread.session.post(url, json=body, headers=headers, timeout=10)
    answer.raise_for_status()
    return log_sent(content, answer.json())


@app.task(name="deliver")
def deliver(content: dict[str, Any]) -> None:
    """Take one message."""
    post(content)
