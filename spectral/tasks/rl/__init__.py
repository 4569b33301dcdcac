"""Reinforcement learning: changing environments and the streams that train in them."""
