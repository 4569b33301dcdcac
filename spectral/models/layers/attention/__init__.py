"""The parts of transformers: norms, positions, attention and feed-forward layers."""
