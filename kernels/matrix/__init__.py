"""Products of matrices: matmul and matvec."""
