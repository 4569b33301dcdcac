"""The Hessian, its Gauss-Newton part, its Kronecker factors, and the effect of L2."""
