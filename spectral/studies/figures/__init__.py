"""Figures of runs and of loss landscapes."""
