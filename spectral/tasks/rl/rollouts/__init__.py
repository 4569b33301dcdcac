"""Playing in environments, and the metrics of episodes: what all algorithms of this room share."""
