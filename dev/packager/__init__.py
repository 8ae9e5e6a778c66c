"""Builds the packages from an allowlist; each run writes the same bytes."""
