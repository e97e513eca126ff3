"""One small program a contestant; each is run by the Python of its own environment."""
