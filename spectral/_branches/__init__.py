"""Training on branches, which leaves the run alone."""
