"""Running experiments and sweeps: run folders, locks, records, checkpoints, devices, clusters,
landscapes."""
