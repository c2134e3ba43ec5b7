"""The mechanics of AMQP: connecting, declaring, publishing and acknowledging. It knows nothing of Meta or tenants."""
