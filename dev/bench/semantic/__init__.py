"""Caches that match by a threshold, on the same pairs and vectors as ours."""
