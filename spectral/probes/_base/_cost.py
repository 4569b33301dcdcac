"""Costs of measurements, in gradient evaluations on the same examples."""

# A gradient is a forward pass and a backward pass of about twice its time.
FORWARD = 1 / 3
