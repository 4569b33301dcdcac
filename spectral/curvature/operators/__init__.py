"""Which matrix: symmetric matrices that are known by their products with vectors."""
