"""Descriptions of experiments: settings, constructors, grids, and the experiment itself."""
