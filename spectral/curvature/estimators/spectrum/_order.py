"""The order of a Lanczos iteration: how many products it takes."""

from ...._arguments import check_count, Count


def check_order(name: str, order: Count | None) -> None:
    """**Raises:** `ValueError` unless the order is a positive integer or None, the default."""
    if order is not None:
        check_count(name, order)


def order_within(name: str, order: Count | None, dim: int, *, default: int) -> int:
    """The order itself, or for None the smaller of the default and the dimension.

    **Raises:** `ValueError` if the order is larger than the dimension.
    """
    if order is None:
        return min(default, dim)
    if order > dim:
        raise ValueError(
            f"`{name}` is {order}, but must be at most {dim}, the dimension of the matrix: pass a "
            f"smaller one, or None for the smaller of {default} and the dimension."
        )
    return int(order)
