"""Environments, the physical parameters that change, and the schedules of the change."""
