"""Experiments and their descriptions: settings, constructors, grids."""
