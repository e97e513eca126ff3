"""The worker: a process of its own that sends what waits in a store, one process a key."""
