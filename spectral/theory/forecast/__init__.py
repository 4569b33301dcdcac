"""What training can reach: the definitions of trainability, and a forecast of it."""
