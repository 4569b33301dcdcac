"""What protects a run folder: locks, signals, what may be deleted, and equal numerics."""
