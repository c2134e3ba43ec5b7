"""What is sent through the broker: messages, events, headers, queues and exchanges.

The only package that knows their names, so a change of contract is a change here.
"""
