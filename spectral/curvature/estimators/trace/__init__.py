"""Estimators of a trace or a diagonal."""
