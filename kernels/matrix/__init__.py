"""Products of matrices and vectors in float64.

matrix_product.py            matmul: plans, the plain body, and the one that calls numpy's BLAS
matrix_product_compiled.py   the compiled body: packed panels, as in GotoBLAS and BLIS
micro_kernel.py              one block of the product in registers
matrix_vector.py             matvec: plan and plain bodies
matrix_vector_compiled.py    the compiled body: several rows for one pass over x
"""
