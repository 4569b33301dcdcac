"""Dead units: which stay dead, and how they bound the rank of the Hessian (section 6)."""
