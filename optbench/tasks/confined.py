"""Run by `tasks.programs` in a process of its own, as `python -S confined.py PROGRAM SECONDS LIBRARY...`: takes rights
away from itself for good, then runs the program. It imports nothing of this package, and is never imported by it.

What holds everywhere: limits of CPU time, memory, processes, file size and open files that cannot be raised again, and
a hook on Python's own events that refuses files outside the program's folder and the libraries, sockets, processes
and signals. On Linux, where the kernel permits it, the process also leaves the network, may write nowhere else
(Landlock), and may start no process and open no socket (seccomp). This is a limit against accidents. It is not a
sandbox against an attacker.
"""

from __future__ import annotations

import os
import platform
import resource
import runpy
import struct
import sys
from typing import Any

MEMORY = 1 << 30
FILE_SIZE = 1 << 18
"""Bytes of any file that is written, the printed output among them."""
OPEN_FILES = 64
_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_REFUSED = ("socket.", "subprocess.", "pty.", "urllib.", "ftplib.", "smtplib.", "winreg.", "syslog.", "fcntl.")
_REFUSED_OS = frozenset(
    f"os.{name}"
    for name in "chflags chmod chown exec fork forkpty kill killpg link lockf mkdir posix_spawn remove removexattr "
    "rename rmdir setxattr spawn startfile symlink system truncate utime".split()
)
_NAMES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# socket, execve, execveat, kill, ptrace, fork, vfork, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo,
# pidfd_send_signal, pidfd_open, io_uring_setup, as far as the machine has them | clone | clone3
_CALLS = {
    "x86_64": ((41, 59, 322, 62, 101, 57, 58, 200, 234, 129, 297, 424, 434, 425), 56, 435),
    "aarch64": ((198, 221, 281, 129, 117, 130, 131, 138, 240, 424, 434, 425), 220, 435),
}
_SAME_THREAD_GROUP = 0x00010000


def limit(seconds: int) -> None:
    """Limits that the process cannot raise again."""
    wanted = {
        "RLIMIT_CPU": seconds,
        "RLIMIT_AS": MEMORY,
        "RLIMIT_NPROC": 0,
        "RLIMIT_FSIZE": FILE_SIZE,
        "RLIMIT_NOFILE": OPEN_FILES,
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            resource.setrlimit(kind, (value, value))


def refuse_events(libraries: list[str]) -> None:
    """Refuses, among Python's own events, what a program that computes a number has no use for."""
    folder = os.getcwd() + os.sep
    readable = (folder, *(os.path.realpath(library) + os.sep for library in libraries))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not isinstance(arguments[0], int):
            path, flags = os.path.realpath(os.fsdecode(arguments[0])), arguments[2]
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))
            if not path.startswith(folder if writes else readable) and path not in ("/dev/null", "/dev/urandom"):
                raise PermissionError(f"a program may not open {path}")
        elif event.startswith(_REFUSED) or event in _REFUSED_OS:
            raise PermissionError(f"a program may not use {event}")

    sys.addaudithook(hook)


def leave_network(libc: Any) -> None:
    """A network of its own, without any device that is up; nothing happens where that is not permitted."""
    if libc.unshare(_NEW_NETWORK) != 0:
        libc.unshare(_NEW_USER | _NEW_NETWORK)


def write_nowhere_else(libc: Any, libraries: list[str]) -> None:
    """Landlock: reading below the libraries and the system's, writing below the folder; nothing on old kernels."""
    reading, writing = 0b1101, 0b1111111111111  # execute, read a file, read a folder | all of version 1
    rules = libc.syscall(444, struct.pack("Q", writing), 8, 0)
    if rules < 0:
        return
    for path, rights in [
        (os.getcwd(), writing),
        *((p, reading) for p in (*libraries, "/usr", "/lib", "/lib64", "/dev")),
    ]:
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        libc.syscall(445, rules, 1, struct.pack("=Qi", rights, opened), 0)
        os.close(opened)
    libc.syscall(446, rules, 0)
    os.close(rules)


def start_nothing(libc: Any, ctypes: Any) -> None:
    """Seccomp: new processes, sockets and signals to others fail with EPERM; nothing on other machines."""
    machine = platform.machine()
    if machine not in _CALLS:
        return
    refused, clone, clone3 = _CALLS[machine]

    def line(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("HBBI", code, then, otherwise, value)

    load, equal, bits, end = 0x20, 0x15, 0x45, 0x06
    allow, eperm, enosys = 0x7FFF0000, 0x00050001, 0x00050026
    lines = [line(load, 4), line(equal, _NAMES[machine], 1, 0), line(end, eperm), line(load, 0)]
    for call in refused:
        lines += [line(equal, call, 0, 1), line(end, eperm)]
    lines += [line(equal, clone3, 0, 1), line(end, enosys), line(equal, clone, 0, 3), line(load, 16)]
    lines += [line(bits, _SAME_THREAD_GROUP, 1, 0), line(end, eperm), line(end, allow)]
    code = b"".join(lines)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(lines), ctypes.addressof(buffer))
    libc.prctl(22, 2, program, 0, 0)


def main(program: str, seconds: int, libraries: list[str]) -> None:
    """Confines this process, then runs the program as its main module."""
    import ctypes

    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        leave_network(libc)
        libc.prctl(38, 1, 0, 0, 0)  # no new privileges, which Landlock and seccomp ask for
        write_nowhere_else(libc, libraries)
        start_nothing(libc, ctypes)
    limit(seconds)
    import random

    random.seed(0)  # A program that draws numbers prints the same ones every time.
    sys.path += libraries[1:]
    sys.argv = [program]
    refuse_events(libraries)
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
