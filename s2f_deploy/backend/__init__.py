"""Other forms of a lowered network."""
