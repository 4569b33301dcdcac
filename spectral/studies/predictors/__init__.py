"""Which sign of lost plasticity comes first, from recorded runs alone."""
