"""Counts that are limited by the data."""

from ..._arguments import check_count


def check_at_most(name: str, value: int, limit: int, available: str) -> None:
    """**Raises:** `ValueError` if `value` is not an integer from 1 to `limit`.

    `available` says where the limit comes from, such as "'digits' has 1500 training rows".
    """
    check_count(name, value)
    if value > limit:
        raise ValueError(f"`{name}` is {value}, but {available}: choose at most {limit}.")
