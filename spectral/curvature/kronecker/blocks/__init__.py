"""The block of one layer: the algebra, without data."""
