"""Losses of a network's outputs, and their mean over data as a function of the parameters."""
