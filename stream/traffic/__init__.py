"""When a message may go: circuits, pacing, shares. Pure decisions, and the scripts by which replicas share them."""
