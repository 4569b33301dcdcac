"""The calls of the layers of a network, and what they record example by example."""
