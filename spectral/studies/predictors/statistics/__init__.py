"""Statistics of arrays over algorithms, seeds and checkpoints."""
