"""The same job on what people would run instead of this worker. The programs run in an environment of their own."""
