"""The code of Cached Model behind the classes that Dify loads."""
