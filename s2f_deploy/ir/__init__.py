"""The graph every pass reads and writes: frozen nodes, arrays beside them."""
