"""Where the groups of a run are trained: in this process, or by the workers of a cluster."""
