"""Dify's types <-> plain data. Shared by both plugins; holds no policy."""
