"""Reinforcement learning: environments that change, and the streams that learn in them."""
