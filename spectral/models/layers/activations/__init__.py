"""What maps the pre-activations of a layer to its activations."""
