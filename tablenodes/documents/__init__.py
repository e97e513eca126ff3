"""Documents: YAML files as plain values with the line of each, and what is read of them by key."""
