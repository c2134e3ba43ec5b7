"""What `wabaPayload` may hold, one model a type and subtype, with Meta's limits: for the document only."""
