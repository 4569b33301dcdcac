"""KFAC and EKFAC: capture, factors, weight sharing, and the error of the approximation."""
