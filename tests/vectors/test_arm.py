"""The kernels compiled for 64-bit Arm on whatever machine this is: the code is looked at, and not run."""

import json
import os
import subprocess
import sys

import pytest

from kernels.vectors import target

binding = pytest.importorskip("llvmlite.binding")
binding.initialize_all_targets()
TRIPLE = "aarch64-unknown-linux-gnu"
try:
    binding.Target.from_triple(TRIPLE)
except RuntimeError:  # a build of LLVM for its own processor alone
    pytest.skip("this LLVM has no 64-bit Arm", allow_module_level=True)

# Run by itself: our modules read the target when they are imported. They are told of NEON, and write LLVM's language
# for it. numba goes on to make this machine's code of that; what LLVM has before is compiled for Arm. numba's counting
# of references is taken out of it: that has been made for this machine by then.
COMPILED_FOR_ARM = """
import json, re, sys
from collections import Counter
import kernels.vectors.target
kernels.vectors.target.target_features = lambda: frozenset({"neon"})
import llvmlite.binding as llvm
import numpy as np
from numba.core.codegen import CPUCodeLibrary
import kernels
from kernels.compilation.compiler import compiled
from kernels.vectors.blocks import LANES

texts, finalize = {}, CPUCodeLibrary._finalize_final_module
def finalized(library):
    texts[library.name] = str(library._final_module)
    finalize(library)
CPUCodeLibrary._finalize_final_module = finalized

A = np.arange(1.0, 1601.0).reshape(40, 40).astype(sys.argv[2])
arguments = {"matmul": (A, A), "matvec": (A, A[0].copy()), "transpose": (A,), "triad": (A, A, 2.0)}
numbers = {"count_primes": (10**6,), "primes": (10**6,), "mandelbrot": ((40, 40),)}
kernel = getattr(kernels, sys.argv[1]).nogil
plan = kernel.plan(*(arguments | numbers)[sys.argv[1]])
function = compiled(kernel.variants["nogil"].source())
out = kernel.allocate(plan)
function(0, plan.chunks and 1, out, *plan.inputs)
text = texts[function.overloads[function.signatures[0]].library.name]
text = re.sub(r'target (triple|datalayout) = ".*"', "", text)
counting = r"define [^\\n]*@(NRT_(?:in|de)cref)\\([^\\n]*\\{\\n.*?\\n\\}\\n"
text = re.sub(counting, r"declare void @\\1(ptr)\\n", text, flags=re.S)
text = re.sub(r"declare [^\\n]*@llvm\\.x86\\.atomic[^\\n]*\\n", "", text)
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
module = llvm.parse_assembly(text)
module.verify()
arm = llvm.Target.from_triple(sys.argv[3]).create_target_machine(cpu="neoverse-n1", opt=3, reloc="pic")
code = arm.emit_assembly(module)
print(json.dumps({
    "lanes": LANES,
    "foreign": re.findall(r"@(llvm\\.x86\\.[.\\w]+)", text),
    "called": sorted(set(re.findall(r"\\bbl\\s+(\\w+)$", code, re.M))),
    "vectors": Counter(map(".".join, re.findall(r"^\\s+(\\w+)\\s+v\\d+\\.(2d|4s|16b)", code, re.M))),
}))
"""


def on_arm(kernel, dtype, folder):
    """What the code of a kernel consists of; compiled anew, since what comes from the cache is machine code."""
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}  # LLVM takes vectors for 16 bytes, as NEON's are
    done = subprocess.run(
        [sys.executable, "-c", COMPILED_FOR_ARM, kernel, dtype, TRIPLE],
        env={**os.environ, **plain, "NFOLD_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# What there must be at the least. matmul has a block of 8 x 6 float64 in 24 of the 32 registers; matvec four sums of a
# cache line each, of rows and of columns.
LEAST = {
    ("matmul", "f8"): {"fmla.2d": 24},
    ("matmul", "f4"): {"fmla.4s": 24},
    ("matvec", "f8"): {"fmla.2d": 32},
    ("matvec", "f4"): {"fmla.4s": 32},
    ("transpose", "f8"): {"zip1.2d": 4, "zip2.2d": 4},
    ("triad", "f8"): {"fmul.2d": 4, "fadd.2d": 4},
    ("triad", "f4"): {"fmul.4s": 4, "fadd.4s": 4},
    ("mandelbrot", "f8"): {"fmul.2d": 100, "fadd.2d": 100, "fcmge.2d": 10},
    ("count_primes", "f8"): {"and.16b": 100},
    ("primes", "f8"): {"and.16b": 100},
}


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [pytest.param(*case, marks=() if case == ("triad", "f8") else pytest.mark.slow) for case in LEAST],
)
def test_arms_vectors_are_used_whole(kernel, dtype, tmp_path):
    code = on_arm(kernel, dtype, tmp_path)
    assert code["lanes"] == 2
    assert not code["foreign"]
    assert not {"fma", "fmaf"} & set(code["called"])  # a function of C in place of an instruction
    few = {name: code["vectors"].get(name, 0) for name, least in LEAST[kernel, dtype].items()}
    assert all(few[name] >= least for name, least in LEAST[kernel, dtype].items()), few


def test_neon_is_taken_for_what_it_is(monkeypatch):
    monkeypatch.setattr(target, "target_features", lambda: frozenset({"neon"}))
    assert [target.vector_width(dtype) for dtype in ("f8", "f4", "u1")] == [2, 4, 16]
    assert target.vector_registers() == 32
    assert target.has_fma()
    assert target.compress_instruction(2) == ""
