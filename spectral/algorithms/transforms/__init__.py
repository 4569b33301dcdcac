"""Transforms of the learner beyond the optimiser's step."""
