"""The connection to Redis: whether it is away, and the scripts that travel to it in batches."""
