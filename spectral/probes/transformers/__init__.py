"""Probes of the blocks of transformers."""
