"""Fills a cache before its users come; see docs/warming.md."""
