"""Distances between the inputs of two tasks (Definition 6.4, Lemma B.1)."""
