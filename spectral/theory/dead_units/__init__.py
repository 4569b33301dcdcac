"""Dead units: which of them stay dead, and how they bound the rank of the Hessian (section 6)."""
