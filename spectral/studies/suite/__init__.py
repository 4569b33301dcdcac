"""A suite of streams with a fixed tuning budget, on which any algorithm is scored."""
