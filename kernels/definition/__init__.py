"""What a kernel is: plan -> body -> finish; what its body may do and its inputs may be; what makes one."""

from kernels.definition.decorator import kernel as kernel
from kernels.definition.plan import Plan as Plan
from kernels.definition.plan import as_index as as_index
from kernels.definition.work import Kernel as Kernel
from kernels.definition.work import Variant as Variant
from kernels.definition.work import find as find
from kernels.definition.work import nearest as nearest
from kernels.definition.work import numba_is_here as numba_is_here
