"""`stream dead-letters`: what is in the dead-letter queue, and how to get it back."""
