"""Costs of measurements, in gradient evaluations on the same examples."""

# A gradient is a forward pass and a backward pass of about twice its time.
FORWARD = 1 / 3
# A gradient takes about six operations for each example and parameter, and an inner product of two
# gradients takes two for each parameter.
INNER_PRODUCT = 1 / 3


def products_cost(num_examples: int) -> float:
    """The gradients of single examples and the inner products of all their pairs."""
    return 1 + num_examples * INNER_PRODUCT
