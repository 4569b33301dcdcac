"""The definitions of trainability, and a forecast of the loss that training will reach."""
