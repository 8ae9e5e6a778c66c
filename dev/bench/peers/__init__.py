"""Caches of others, each through the API that its documentation shows.

They live in an environment of their own; nothing of ours needs them.
"""
