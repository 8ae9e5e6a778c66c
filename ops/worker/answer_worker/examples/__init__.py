"""Tasks to plug in, as examples: each takes an event, and returns a document or None."""
