"""Exceptions of the operator graph, at the paths Quix Streams has them."""
