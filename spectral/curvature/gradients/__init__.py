"""Signs of plasticity: what the gradients of single examples, and the curvature along them, say."""
