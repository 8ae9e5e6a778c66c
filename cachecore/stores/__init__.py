"""Stores for entries. ``base`` is the contract; other modules implement it."""
