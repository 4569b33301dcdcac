"""Toy loss landscapes in the plane."""
