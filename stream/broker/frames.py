"""The frames that wait to be written to a connection of aiormq's."""

from __future__ import annotations

import aiormq


def queue_all_frames() -> None:
    """Let aiormq queue all frames that wait to be written, for the process; calling it again changes nothing.

    By default it queues ten. If these are there when the broker closes a channel, aiormq leaves out its answer, and
    opens the next channel with the same number: the broker closes the whole connection over it. So an exchange that is
    gone would cost every message in flight its connection. The limit bounds no memory, as aiormq encodes a frame before
    it waits for room: how many messages are in flight does.
    """
    aiormq.Connection.FRAME_BUFFER_SIZE = 0
