"""The page `/dead-letters` on the worker's HTTP port: what lies in the dead-letter queue, to look at and no more."""
