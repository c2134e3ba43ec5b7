"""Benchmarks: this worker beside a raw floor and a lean Node worker, in the same run and under the same load."""
