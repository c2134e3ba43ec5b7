"""What the worker shows of itself: logs without secrets, and health."""
