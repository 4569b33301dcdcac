"""Environments, their changing physical parameters, and the schedules of change."""
