"""Builds the packages from an allowlist, byte for byte the same on every run."""
