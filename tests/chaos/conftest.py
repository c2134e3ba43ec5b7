"""What every test on servers that fail begins with."""

from __future__ import annotations

from tests.alone import place
from tests.trouble import no_trouble

__all__ = ("no_trouble", "place")
