"""Transforms that act on all weights."""
