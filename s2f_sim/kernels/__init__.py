"""Compiled loops of the events engine: they add rows of weights, and multiply nothing."""
