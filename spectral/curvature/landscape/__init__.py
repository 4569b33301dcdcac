"""Values of a loss on lines and planes through parameters."""
