"""Deep Q-networks: replay, exploration, target networks, the error of values, and the stream."""
