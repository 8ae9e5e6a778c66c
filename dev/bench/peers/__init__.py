"""Other caches, each through the API that its documentation shows.

They are installed in a separate environment; no code of ours needs them.
"""
