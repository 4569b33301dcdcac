"""Probes of gradients."""
