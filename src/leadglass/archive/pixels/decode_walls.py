"""The walls around a decode process: limits, and a filter that leaves it nothing but memory and its two pipes.

Works without any privilege. After `close_in` there is no way to open a file for reading or writing, to reach a
network, to start a program or to look at another process: a decoder that is taken over can only answer wrongly.
Whatever is needed later must have been loaded before. Ref: seccomp(2), prctl(2); Linux system call tables.
"""

import ctypes
import platform
import resource
import struct
import sys
from typing import Final

__all__ = ["close_in", "limit_memory"]

_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050001  # SECCOMP_RET_ERRNO with EPERM
_NO_CALL: Final = 0x00050026  # ENOSYS: glibc then takes clone instead of clone3
_LOAD, _EQUAL, _SET, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF: ld abs word, jeq, jset, ret
_CLONE_THREAD: Final = 0x10000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2

# name -> (x86-64, aarch64); -1 where the machine has no such call
_CALLS: Final = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "poll": (7, -1), "lseek": (8, 62),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "readv": (19, 65), "writev": (20, 66),
    "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "nanosleep": (35, 101), "getpid": (39, 172),
    "exit": (60, 93), "uname": (63, 160), "gettimeofday": (96, 169), "getrlimit": (97, 163), "getrusage": (98, 165),
    "sysinfo": (99, 179), "times": (100, 153), "getppid": (110, 173), "sigaltstack": (131, 132), "gettid": (186, 178),
    "time": (201, -1), "futex": (202, 98), "sched_getaffinity": (204, 123), "restart_syscall": (219, 128),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94),
    "tgkill": (234, 131), "set_robust_list": (273, 99), "prlimit64": (302, 261), "setrlimit": (160, 164),
    "getrandom": (318, 278), "membarrier": (324, 283), "rseq": (334, 293), "ppoll": (271, 73),
}
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def limit_memory(memory_bytes: int) -> None:
    """Bound the address space; no core dump, no file of any size."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file may be written: pixels are a patient's


def close_in() -> bool:
    """Let this process do nothing but compute, read and write what is open. Return whether the system took the filter."""
    machine = _MACHINES.get(platform.machine())
    if machine is None or not sys.platform.startswith("linux"):
        return False
    code = _program(*machine)
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *one) for one in code))
    program = struct.pack("@HxxxxxxP", len(code), ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.create_string_buffer(program), 0, 0) == 0)


def _program(place: int, architecture: int) -> list[tuple[int, int, int, int]]:
    """Return the filter: (code, jump if true, jump if false, value), for a machine's column of the table."""
    calls = sorted({numbers[place] for numbers in _CALLS.values()} - {-1})
    code = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, 0)]
    code += [(_EQUAL, 0, 1, _CLONE3[place]), (_RETURN, 0, 0, _NO_CALL)]
    # clone: only as a thread (the flags are its first argument)
    code += [(_EQUAL, 0, 4, _CLONE[place]), (_LOAD, 0, 0, 16), (_SET, 0, 1, _CLONE_THREAD), (_RETURN, 0, 0, _ALLOW),
             (_RETURN, 0, 0, _REFUSE)]
    for number in calls:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    return [*code, (_RETURN, 0, 0, _REFUSE)]
