"""Penalties that are added to the loss."""
