"""What can be set from outside, and how it is read and checked."""

from stream.settings.load import InvalidSettings, load_settings
from stream.settings.model import DocumentedSettings, Settings

__all__ = ["DocumentedSettings", "InvalidSettings", "Settings", "load_settings"]
