"""The connection to Redis: whether Redis is away, and scripts that are sent in batches."""
