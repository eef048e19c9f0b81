"""What compiled bodies stand on. Every module but caches.py imports numba, so only compiled code imports it.

operations.py   vector operations under Google Highway's names; begin at its quick reference
operators.py    + - * / < == & | ~ on vectors
compress.py     compress_store
blocks.py       vectors by address and past the caches; blocks copied and transposed in registers
target.py       which vectors the machine has: the one place where AVX widths are chosen
llvm.py         numba's types of vectors, and the pieces of IR that the operations are made of
atomics.py      atomic words, clocks, a pause
caches.py       sizes of this machine's caches; arrays that begin with a cache line
"""
