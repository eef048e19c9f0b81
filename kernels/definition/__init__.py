"""What a kernel is, plan → body → finish, and what makes one of a function.

decorator.py      @kernel: a kernel of a body
each.py           each(f): a kernel of any Python function of one item
work.py           Kernel and Variant; find, which looks one up by its path
plan.py           Plan: one call's work, checked
bodies.py         what may be a body
arguments.py      what its inputs may be, and how they are bound
containers.py     arrays inside of inputs, which are read-only, too
operands.py       arrays as the matrix kernels and streams take them: float64, cut into tiles
rows.py           where a reducing body writes: into its own row, or beyond it
refusals.py       what numpy and numba say of a body that writes to an input, in one line
numbas_words.py   numba's error for a body that it cannot compile, in one line
"""

from kernels.definition.decorator import kernel as kernel
from kernels.definition.plan import Plan as Plan
from kernels.definition.plan import as_index as as_index
from kernels.definition.work import Kernel as Kernel
from kernels.definition.work import Variant as Variant
from kernels.definition.work import find as find
from kernels.definition.work import nearest as nearest
from kernels.definition.work import numba_is_here as numba_is_here
