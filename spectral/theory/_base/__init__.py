"""Checks of hypotheses, and probabilities estimated by counting."""
