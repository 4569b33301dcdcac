"""Transforms that act from the task on at which a sign crosses a threshold."""
