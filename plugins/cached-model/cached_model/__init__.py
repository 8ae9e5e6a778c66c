"""What Cached Model knows: its form, its upstream, and one chat through the cache."""
