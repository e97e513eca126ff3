"""Run: one run of a node over a table, put together."""
