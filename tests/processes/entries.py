"""What children do in these tests."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from editx.processes.child import read_payload, write_answer


def echo(sock, args):
    write_answer(sock, read_payload(sock))


def answer_without_reading(sock, args):
    write_answer(sock, b"no need to read")


def say_and_exit(sock, args):
    print("first words")
    print("last words", file=sys.stderr)
    os._exit(args["code"])


def fail(sock, args):
    raise RuntimeError("something broke")


def leave(sock, args):
    sys.exit(args["code"])


def die_mid_answer(sock, args):
    read_payload(sock)
    sock.sendall((1000).to_bytes(8, "little") + b"x" * 10)
    os.kill(os.getpid(), signal.SIGKILL)


def fall_silent(sock, args):
    sock.shutdown(socket.SHUT_WR)
    signal.pause()


def big_answer(sock, args):
    write_answer(sock, bytes(args["size"]))


def wait(sock, args):
    """Say hello, then wait for a byte and exit with its value."""
    sock.sendall(b"h")
    byte = sock.recv(1)
    os._exit(byte[0])


def spin(sock, args):
    """Never look at the socket again."""
    sock.sendall(b"h")
    while True:
        time.process_time()


def facts(sock, args):
    """What this process is like, as JSON."""
    read_payload(sock)
    fds = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            pass
    write_answer(
        sock,
        json.dumps(
            {
                "fds": fds,
                "socket": sock.fileno(),
                "modules": sorted(sys.modules),
                "parent": os.getppid(),
                "path": sys.path,
                "comm": Path("/proc/self/comm").read_text().strip(),
            }
        ).encode(),
    )


def allocate(sock, args):
    read_payload(sock)
    try:
        block = bytearray(args["size"])
        write_answer(sock, str(len(block)).encode())
    except MemoryError:
        write_answer(sock, b"MemoryError")


def write_file(sock, args):
    read_payload(sock)
    try:
        with open(args["path"], "wb", buffering=0) as file:
            file.write(b"x")
        write_answer(sock, b"written")
    except OSError as error:
        write_answer(sock, type(error).__name__.encode() + b" " + str(error.errno).encode())


def flood(sock, args):
    """Print far more than any pipe holds, then answer."""
    line = b"noise " * 20 + b"\n"
    for _ in range(args["lines"]):
        os.write(2, line)
    os.write(2, b"y" * 1_000_000)
    os.write(2, b"\nthe end")
    write_answer(sock, b"done")
    socket.socket.recv(sock, 1)


def interrupted(sock, args):
    os.kill(os.getpid(), signal.SIGINT)
    write_answer(sock, b"still here")


def bring_down(sock, args):
    """Kill the zygote this was forked from, or answer if it came from the launcher itself."""
    read_payload(sock)
    if os.getppid() != args["launcher"]:
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    write_answer(sock, b"done")
