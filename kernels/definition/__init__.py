"""What a kernel is, plan → body → finish, and what makes one of a function.

decorator.py      @kernel: a kernel of a body
each.py           each(f): a kernel of any Python function of one item
kernel_class.py   Kernel, the class behind these two; find, which looks a kernel up by its path
variant.py        Variant: one way to run a body; whether there is a compiler for it
module_names.py   module:name as a user writes it, and what is there in place of a wrong one
plan.py           Plan: what one call of a kernel will do
bodies.py         what may be a body
arguments.py      what its inputs may be
default_plan.py   the plan and the example of a kernel that gives none, and how its arguments are bound
containers.py     arrays inside of inputs, which are read-only, too
operands.py       arrays as the matrix kernels and streams take them: of one dtype, cut into tiles
recycled.py       memory of large results that are gone, used again for the next ones
rows.py           whether a reducing body writes beyond its own row of the output
notes.py          notes of exceptions, whatever their class refuses
refusals.py       errors of numpy and numba about a body, in one line with a remedy; bodies that write to an input
compile_errors.py the part of it that reads numba's errors of compiling
misplaced.py      what a caller has put in the wrong place, in one line with a remedy
written.py        functions as they are written: file, line, text
"""

from kernels.definition.decorator import kernel as kernel
from kernels.definition.kernel_class import Kernel as Kernel
from kernels.definition.kernel_class import find as find
from kernels.definition.kernel_class import nearest as nearest
from kernels.definition.plan import Plan as Plan
from kernels.definition.plan import as_index as as_index
from kernels.definition.variant import Variant as Variant
from kernels.definition.variant import numba_is_here as numba_is_here
from kernels.definition.variant import where_numba_is as where_numba_is
