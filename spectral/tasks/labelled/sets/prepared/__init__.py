"""Data sets that TensorFlow Datasets has prepared: their files, and how they are decoded."""
