"""One message's journey, top-down: subscriber, arrival, journey, processor, decision, settlement."""
