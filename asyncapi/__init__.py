"""The contract for readers: writes the AsyncAPI document and builds the site, from the application's own code.

`asyncapi.yaml`, `asyncapi.json` and `site/` are written by `python -m asyncapi`, never by hand; `released.json` is the
contract as it was last released.
"""
