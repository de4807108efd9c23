"""Curvature of the batch loss: products with the Hessian and its two parts, and what is read off them."""
