"""Probes of hidden units."""
