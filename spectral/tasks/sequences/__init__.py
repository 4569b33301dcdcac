"""Streams of token sequences, in which each token predicts the next one."""
