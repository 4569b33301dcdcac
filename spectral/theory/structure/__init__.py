"""What the structure of a network or of its classes does to the Gauss-Newton matrix, and what a
spectrum says of the next step."""
