"""What compiled bodies stand on. Only compiled code imports what imports numba: not caches.py, clocks.py, memory.py.

operations.py   vector operations under Google Highway's names; begin at its quick reference
operators.py    + - * / << >> < == & | ~ on vectors
compress.py     compress_store
blocks.py       vectors by address and past the caches; blocks copied and transposed in registers
target.py       which vectors the machine has: the one place where AVX widths are chosen
llvm.py         numba's types of vectors, and the pieces of IR that the operations are made of
large_pages.py  a body's own memory in large pages
atomics.py      atomic words, a pause
clocks.py       clocks
caches.py       sizes of this machine's caches; arrays that begin with a cache line
memory.py       how much memory this process may still take, and the refusal of what needs more
"""
