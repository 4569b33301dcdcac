"""Estimators of a spectrum, of its extremes, of a trace or of a diagonal."""
