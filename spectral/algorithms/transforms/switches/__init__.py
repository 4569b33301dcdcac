"""Transforms that act once a sign of lost plasticity says so."""
