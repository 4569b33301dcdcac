"""Streams that change gradually from each task to the next."""
