"""Examples of tasks: each takes an event, and returns a document or None."""
