"""Toy landscapes in the plane."""
