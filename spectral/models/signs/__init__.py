"""Signs of lost plasticity, as functions of activations and of weights."""
