"""Probes of curvature."""
