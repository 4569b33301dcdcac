"""Run folders: locks, records, run, sweep, resume, devices, and landscapes of a run."""
