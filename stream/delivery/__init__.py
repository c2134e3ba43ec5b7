"""One message's journey, top-down: subscriber, processor, decision, settlement."""
