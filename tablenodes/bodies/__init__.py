"""Bodies: from a node's settings and a row's cells to what is sent."""
