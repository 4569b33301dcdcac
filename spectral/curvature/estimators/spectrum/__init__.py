"""Estimators of a spectrum or of its ends."""
