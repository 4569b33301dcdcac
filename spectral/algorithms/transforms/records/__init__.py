"""Transforms that change nothing and record what happens within training."""
