"""Probes of the weights."""
