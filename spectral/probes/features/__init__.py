"""Probes of the features of hidden layers."""
