"""What a network can still do."""
