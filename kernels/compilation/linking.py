"""Lay object code out as an image that runs at any address, without numba and LLVM (native_code.py loads it).

numba's object code is ELF of the large code model: all that a function refers to, it refers to by an address of 64
bits. So an image is the bytes, the places in them that hold addresses, and the names of C's functions that it calls.
A function comes with what it reaches alone: what numba puts around it, for Python to call it, stays behind. Arrays that
it makes for itself are counted by numba's runtime, of which `_runtime` below has as much as that takes.

Only object code of x86-64 on Linux is laid out; any other, and code that calls Python, gives None.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
import struct
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir

from kernels.compilation.native_code import PAGE, Image, address_of, is_possible, keep_for_good

_SECTION, _SYMBOL, _RELOCATION = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ"), struct.Struct("<QQq")
_X86_64, _RELOCATABLE = 62, 1
_SYMBOLS, _RELOCATIONS, _ZEROS, _UNWIND = 2, 4, 8, 0x70000001
_WRITTEN, _LOADED, _EXECUTED = 1, 2, 4
_UNDEFINED, _COMMON = 0, 0xFFF2
_ABSOLUTE = 1  # R_X86_64_64: the address and an offset from it, in 8 bytes
_FUNCTION = 2
TRAP = b"\xcc"  # int3, in the place of functions that are not reached
# What needs Python, numba's library, or more of its runtime than there is here.
_OTHERS = re.compile(r"_?Py[A-Z_]|_?numba|NRT_|__svml_|llvm\.")


class _Section(NamedTuple):
    flags: int
    content: bytes
    alignment: int
    relocations: list[tuple[int, int, int, int]]  # offset, kind, symbol's number, addend


class _Symbol(NamedTuple):
    name: str
    kind: int
    is_local: bool
    section: int
    value: int
    size: int


class _Object:
    """An ELF file's sections that are loaded, by number, and its symbols."""

    def __init__(self, content: bytes) -> None:
        kind, machine = struct.unpack_from("<HH", content, 16)
        if content[:6] != b"\x7fELF\2\1" or kind != _RELOCATABLE or machine != _X86_64:
            raise _Unknown("it is of another kind")
        (place,) = struct.unpack_from("<Q", content, 0x28)
        size, count = struct.unpack_from("<HH", content, 0x3A)
        headers = [_SECTION.unpack_from(content, place + size * k) for k in range(count)]
        self.sections: dict[int, _Section] = {}
        self.symbols: list[_Symbol] = []
        for number, (_, kind, flags, _, offset, length, _, _, alignment, _) in enumerate(headers):
            if flags & _LOADED and kind != _UNWIND:
                data = bytes(length) if kind == _ZEROS else content[offset : offset + length]
                self.sections[number] = _Section(flags, data, max(1, alignment), [])
        for _, kind, _, _, offset, length, link, of, _, _ in headers:
            inside = content[offset : offset + length]
            if kind == _RELOCATIONS and of in self.sections:
                for at, about, addend in _RELOCATION.iter_unpack(inside):
                    self.sections[of].relocations.append((at, about & 0xFFFFFFFF, about >> 32, addend))
            elif kind == _SYMBOLS:
                names = headers[link][4]
                for name, info, _, section, value, extent in _SYMBOL.iter_unpack(inside):
                    begin = names + name
                    text = content[begin : content.index(b"\0", begin)].decode()
                    self.symbols.append(_Symbol(text, info & 15, info >> 4 == 0, section, value, extent))


class _Unknown(Exception):
    """Object code that cannot be laid out here; the text says why."""


def image_of(object_codes: list[bytes], entry: str) -> Image | None:
    """The image of the function of this name; None where it cannot be had without numba.

    object_codes: numba's, of the function, and of what it calls without being linked with it.
    """
    if not is_possible():
        return None
    try:
        objects = list(map(_Object, object_codes))
        named = {symbol.name for object_file in objects for symbol in object_file.symbols}
        provided = [_Object(code) for name, code in _provided.items() if name in named]
        runtime = [_runtime()] if any(name.startswith("NRT_") for name in named) else []  # it takes 10 ms
        return _Layout([*objects, *provided, *runtime], entry).image()
    except (_Unknown, struct.error, ValueError, IndexError):  # of a kind that is not known here
        return None


def provide(name: str, object_code: bytes) -> None:
    """Have images of code that calls a function by this name hold it, from object code that defines it."""
    _provided[name] = object_code


_provided: dict[str, bytes] = {}


class _Layout:
    """The sections of objects, one behind another: first what is only read and executed, then what is written."""

    def __init__(self, objects: list[_Object], entry: str) -> None:
        self._objects, self._entry = objects, entry
        self._places: dict[tuple[int, int], int] = {}
        self._globals: dict[str, tuple[int, _Symbol]] = {}
        content = bytearray()
        self._commons: dict[str, int] = {}
        for written in (0, _WRITTEN):
            if written:
                content += bytes(-len(content) % PAGE)
                self._read_only = len(content)
            for which, of in enumerate(objects):
                for number, section in of.sections.items():
                    if section.flags & _WRITTEN == written:
                        content += bytes(-len(content) % section.alignment)
                        self._places[which, number] = len(content)
                        content += section.content
        for which, of in enumerate(objects):
            for symbol in of.symbols:
                if symbol.section == _COMMON and symbol.name not in self._commons:
                    content += bytes(-len(content) % max(16, symbol.value))
                    self._commons[symbol.name] = len(content)
                    content += bytes(symbol.size)
                elif symbol.section != _UNDEFINED and not symbol.is_local:
                    self._globals.setdefault(symbol.name, (which, symbol))
        self._content = content

    def image(self) -> Image:
        if self._entry not in self._globals:
            raise _Unknown("it has no such function")
        reached, entry = self._reached(), self._place(*self._globals[self._entry])
        addresses, outside = [], dict[str, list[int]]()
        for which, of in enumerate(self._objects):
            for number, section in of.sections.items():
                begin = self._places[which, number]
                for at, kind, symbol, addend in section.relocations:
                    if section.flags & _EXECUTED and self._function_at(which, number, at) not in reached:
                        continue
                    if kind != _ABSOLUTE:
                        raise _Unknown(f"relocation {kind}")
                    place, name = self._target(which, of.symbols[symbol])
                    if place is None:
                        outside.setdefault(name, []).append(begin + at)
                    else:
                        addresses.append(begin + at)
                    struct.pack_into("<q", self._content, begin + at, (place or 0) + addend)
        self._drop_unreached(reached)
        located = {_found_by(name, llvm.address_of_symbol(name)): places for name, places in outside.items()}
        return Image(bytes(self._content), entry, self._read_only, addresses, located)

    def _place(self, which: int, symbol: _Symbol) -> int:
        return self._places[which, symbol.section] + symbol.value

    def _target(self, which: int, symbol: _Symbol) -> tuple[int | None, str]:
        """Where a symbol lies in the image; or None, and the name of what is outside of it."""
        if symbol.is_local and (which, symbol.section) in self._places:
            return self._place(which, symbol), symbol.name
        if symbol.name in self._globals:
            return self._place(*self._globals[symbol.name]), symbol.name
        if symbol.name in self._commons:
            return self._commons[symbol.name], symbol.name
        if symbol.section != _UNDEFINED or not symbol.name:
            raise _Unknown("a symbol of another kind")
        return None, symbol.name

    @functools.cached_property
    def _functions(self) -> dict[tuple[int, int], list[_Symbol]]:
        """The functions of each section."""
        by_section: dict[tuple[int, int], list[_Symbol]] = {}
        for which, of in enumerate(self._objects):
            for symbol in of.symbols:
                if symbol.kind == _FUNCTION and (which, symbol.section) in self._places:
                    by_section.setdefault((which, symbol.section), []).append(symbol)
        return by_section

    def _function_at(self, which: int, number: int, at: int) -> int:
        """Where in the image the function begins that has this place of a section."""
        for function in self._functions.get((which, number), ()):
            if function.value <= at < function.value + function.size:
                return self._place(which, function)
        raise _Unknown("code that is in no function")

    def _reached(self) -> set[int]:
        """Where the functions begin that the entry calls, or that tables of the data name."""
        calls: dict[int, set[int]] = {}  # -1: from the data
        begins = {self._place(which, f): f.size for (which, _), fs in self._functions.items() for f in fs}
        for which, of in enumerate(self._objects):
            for number, section in of.sections.items():
                for at, _, symbol, addend in section.relocations:
                    caller = self._function_at(which, number, at) if section.flags & _EXECUTED else -1
                    place, _ = self._target(which, of.symbols[symbol])
                    if place is not None:
                        place += addend if of.symbols[symbol].kind == _SECTION_ITSELF else 0
                        called = (begin for begin, size in begins.items() if begin <= place < begin + size)
                        calls.setdefault(caller, set()).update(called)
        reached = {self._place(*self._globals[self._entry])}
        waiting = [*reached, -1]
        for caller in waiting:
            new = calls.get(caller, set()) - reached
            reached |= new
            waiting += new
        return reached

    def _drop_unreached(self, reached: set[int]) -> None:
        for (which, _), functions in self._functions.items():
            for function in functions:
                if (begin := self._place(which, function)) not in reached:
                    self._content[begin : begin + function.size] = TRAP * function.size


_SECTION_ITSELF = 3


@functools.cache
def _found_by(name: str, address: int | None) -> str:
    """What any process finds a function of C by that LLVM finds here: its name, with a version if not the latest.

    It is to be the very function that numba's code calls here. For mathematical ones that is a function of numba's,
    which only jumps to C's of some version; others of numba's are its own, and have no name elsewhere.
    """
    if not _OTHERS.match(name):
        called = _jumps(address)
        for spelling in (name, *(f"{name}@{version}" for version in _VERSIONS)):
            if address_of(spelling) in called:
                return spelling
    raise _Unknown(f"it calls {name}")


_VERSIONS = ("GLIBC_2.2.5",)  # of x86-64's first C library: what programs that are to run everywhere are linked with


def _jumps(address: int | None) -> list[int]:
    """The address of a function, and where it jumps to if it does nothing else."""
    addresses: list[int] = []
    while address and len(addresses) < MOST_JUMPS:
        addresses.append(address)
        code = ctypes.string_at(address, 16)
        begin = 4 if code[:4] == b"\xf3\x0f\x1e\xfa" else 0  # endbr64
        begin += code[begin : begin + 2] == b"\xf2\xff"  # bnd jmp
        (near,), (far,) = struct.unpack_from("<i", code, begin + 1), struct.unpack_from("<i", code, begin + 2)
        if code[begin] == 0xE9:
            address += begin + 5 + near
        elif code[begin : begin + 2] == b"\xff\x25":  # by way of a table, as into another library
            address = ctypes.c_uint64.from_address(address + begin + 6 + far).value
        else:
            break
    return addresses


MOST_JUMPS = 4  # numba's function, its library's entry for C's, that itself


def object_code_of(module: ir.Module, *, speed: int = 2) -> bytes:
    """The object code of a module of ours, for any processor of this kind, which images and this process can take.

    speed: 0 where little time is spent in it, and 15 ms more would be for making it.
    """
    _initialize()
    # For images as numba has it on x86-64: static, and the large model, which is what LLVM's "jit" means there.
    model = {"reloc": "static", "codemodel": "large"} if is_possible() else {"jit": True}
    machine = llvm.Target.from_default_triple().create_target_machine(opt=speed, **model)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes = llvm.create_new_module_pass_manager()
    if hasattr(passes, "add_sroa_pass"):
        passes.add_sroa_pass()  # variables into registers; all passes of -O2 take 12 ms more, for the same lane loop
        passes.add_instruction_combine_pass()
        passes.add_simplify_cfg_pass()
    else:  # llvmlite before 0.45
        passes = builder.getModulePassManager()
    passes.run(parsed, builder)
    code: bytes = machine.emit_object(parsed)
    return code


@functools.cache
def _initialize() -> None:
    """What numba does as it is imported; without it, LLVM knows no processor, and none of C's functions."""
    with contextlib.suppress(RuntimeError, AttributeError):  # as from llvmlite 0.45 on, which needs it no longer
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    _engine()


def _engine() -> Any:
    empty = llvm.parse_assembly(str(ir.Module("empty")))
    return llvm.create_mcjit_compiler(empty, llvm.Target.from_default_triple().create_target_machine(jit=True))


def loaded(object_code: bytes, name: str) -> int:
    """The address of a name of object code, which is loaded here, and stays until the process ends."""
    _initialize()
    engine = _engine()
    engine.add_object_file(llvm.ObjectFileRef.from_data(object_code))
    engine.finalize_object()
    keep_for_good(engine)  # where an engine goes, its code goes as well
    return int(engine.get_function_address(name) or engine.get_global_value_address(name))


@functools.cache
def _runtime() -> _Object:
    """numba's runtime, as far as bodies use it: as nrt.cpp has it, without its counts of what was made."""
    module = ir.Module("runtime")
    module.triple = llvm.get_process_triple()
    word, byte = ir.IntType(64), ir.IntType(8).as_pointer()
    malloc = ir.Function(module, ir.FunctionType(byte, [word]), "malloc")
    free = ir.Function(module, ir.FunctionType(ir.VoidType(), [byte]), "free")

    def define(name: str, result: Any, *takes: Any) -> tuple[Any, Any]:
        function = ir.Function(module, ir.FunctionType(result, takes), name)
        return function, ir.IRBuilder(function.append_basic_block())

    function, builder = define("NRT_Allocate", byte, word)
    builder.ret(builder.call(malloc, function.args))
    function, builder = define("NRT_Free", ir.VoidType(), byte)
    builder.call(free, function.args)
    builder.ret_void()
    for name, takes in (("NRT_MemInfo_alloc", ()), ("NRT_MemInfo_alloc_aligned", (ir.IntType(32),))):
        function, builder = define(name, byte, word, *takes)
        size, align = function.args[0], ir.Constant(word, 1)
        room = builder.add(size, ir.Constant(word, MEMINFO))
        if takes:
            align = builder.zext(function.args[1], word)
            room = builder.add(room, builder.shl(align, ir.Constant(word, 1)))
        info = builder.call(malloc, [room])
        with builder.if_then(builder.icmp_unsigned("==", info, ir.Constant(byte, None))):
            builder.ret(info)
        begin = builder.add(builder.ptrtoint(info, word), ir.Constant(word, MEMINFO))
        # Up to the next multiple of the alignment, a power of two.
        rest = builder.and_(builder.neg(begin), builder.sub(align, ir.Constant(word, 1)))
        words = builder.bitcast(info, word.as_pointer())
        for k, value in enumerate((ir.Constant(word, 1), None, None, builder.add(begin, rest), size, None)):
            place = builder.gep(words, [ir.Constant(word, k)])
            builder.store(ir.Constant(word, 0) if value is None else value, place)
        builder.ret(info)
    function, builder = define("NRT_MemInfo_call_dtor", ir.VoidType(), byte)
    builder.call(free, function.args)  # of what is made above, none has a destructor
    builder.ret_void()
    return _Object(object_code_of(module))


# Bytes of numba's description of an array's memory: references, destructor and what it is given, data, size, allocator.
MEMINFO = 48
