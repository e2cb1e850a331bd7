"""Read many datagrams by one system call: recvmmsg(2), which Python's ``socket`` does not offer.

The layouts are those of 64-bit Linux, where ``struct mmsghdr`` has 64 bytes. Elsewhere the import fails.
"""

import ctypes
import math
import os
import socket
import sys
import time
from collections.abc import Callable

from voxgender.media.datagrams import AT_ONCE, Datagram

if not (sys.platform == "linux" and sys.maxsize > 2**32):
    raise ImportError("recvmmsg is read in the layouts of 64-bit Linux", name=__name__)

_LARGEST = 2_048  # above any path's MTU
_NAME = 28  # sizeof(struct sockaddr_in6)
_CONTROL = 32  # CMSG_SPACE(sizeof(struct timespec))
_MSG_DONTWAIT = 0x40
_MAX_WAIT_S = 60.0
_STEP_S = 0.05
"""Change of the wall clock against the monotonic one that is taken to be somebody's setting it."""
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it

# PyDLL keeps the interpreter's lock: the call never waits, and to take the lock again costs more than the call.
_recvmmsg = ctypes.PyDLL(None, use_errno=True).recvmmsg
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)


class _Header(ctypes.Structure):
    """``struct msghdr``."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """``struct mmsghdr``."""

    _fields_ = (("header", _Header), ("len", ctypes.c_uint))


class _Piece(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class RecvmmsgReader:
    """Reads non-blocking UDP sockets, with the kernel's arrival times; one reader serves any number of sockets.

    Args:
        clock: returns seconds, as ``time.monotonic``.
        wall_clock: returns seconds since 1970, as the kernel's arrival times are.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._epoch = wall_clock() - clock()
        self._set_at = -math.inf
        self._messages = (_Message * AT_ONCE)()
        self._pieces = (_Piece * AT_ONCE)()
        data, names, control = (bytearray(AT_ONCE * size) for size in (_LARGEST, _NAME, _CONTROL))
        self._data, self._names = memoryview(data), memoryview(names)
        self._stamps = memoryview(control).cast("q")
        self._memory = tuple((ctypes.c_char * len(area)).from_buffer(area) for area in (data, names, control))
        at_data, at_names, at_control = (ctypes.addressof(area) for area in self._memory)
        for index, (message, piece) in enumerate(zip(self._messages, self._pieces, strict=True)):
            header = message.header
            piece.base, piece.len = at_data + index * _LARGEST, _LARGEST
            header.name, header.control = at_names + index * _NAME, at_control + index * _CONTROL
            header.iov, header.iovlen = ctypes.addressof(piece), 1
            header.namelen, header.controllen = _NAME, _CONTROL
        # Views, because access to single ctypes structures is slow.
        view = memoryview(self._messages).cast("B")
        self._words, self._longs = view.cast("I"), view.cast("Q")
        self._address = ctypes.addressof(self._messages)

    def prepare(self, sock: socket.socket) -> None:
        """Have the kernel note when datagrams arrive."""
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def read(self, sock: socket.socket) -> list[Datagram]:
        """Read up to ``AT_ONCE`` datagrams that wait in a socket.

        Raises:
            OSError: an ICMP error that came back for something sent, or the socket is closed.
        """
        count = _recvmmsg(sock.fileno(), self._address, AT_ONCE, _MSG_DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            error = OSError(number, os.strerror(number))
            if isinstance(error, BlockingIOError | InterruptedError):
                return []
            raise error
        words, longs, stamps, names, data = self._words, self._longs, self._stamps, self._names, self._data
        now, wall = self._clock(), self._wall_clock()
        if abs(wall - now - self._epoch) > _STEP_S:
            self._set_at = now
        self._epoch = wall - now
        # Datagrams that waited while the wall clock was set have a useless time.
        longest_s = min(_MAX_WAIT_S, now - self._set_at)
        datagrams: list[Datagram] = []
        for index in range(count):
            waited_s = wall - stamps[4 * index + 2] - stamps[4 * index + 3] * 1e-9
            arrived_at = now - waited_s if 0.0 < waited_s < longest_s else now
            name, start = index * _NAME, index * _LARGEST
            source = bytes(names[name : name + words[16 * index + 2]])
            datagrams.append((bytes(data[start : start + words[16 * index + 14]]), source, arrived_at))
            # The kernel has replaced the sizes of the buffers by the sizes used.
            words[16 * index + 2] = _NAME
            longs[8 * index + 5] = _CONTROL
        return datagrams
