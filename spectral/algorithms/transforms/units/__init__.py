"""Transforms that renew single units."""
