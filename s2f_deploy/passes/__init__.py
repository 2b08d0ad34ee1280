"""Graph-to-graph passes, one module each."""
