"""Proximal policy optimisation: rollouts, advantages, the surrogate loss, and the stream."""
