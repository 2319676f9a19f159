"""Sockets whose operations end by one deadline together, however slowly data comes."""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from typing import Any, Optional, Union

Address = tuple[int, Any]  # family, and the address for `connect`
_SEND_BYTES = 1 << 16  # at most as many are given to the system at once, so that the deadline is looked at in between


class DeadlineSocket:
    """A connection with a deadline for all its operations.

    Attributes:
        deadline_s: on the clock of `time.monotonic`.
        sent: bytes sent.
        received: bytes received.
    """

    def __init__(
        self, address: Address, deadline_s: float, context: Optional[ssl.SSLContext], server_name: str
    ) -> None:
        """Connect, with TLS where a context is given.

        Raises:
            OSError: as `socket.connect` and `SSLSocket.do_handshake`; `socket.timeout` where the deadline has passed.
        """
        self.deadline_s = deadline_s
        self.sent = self.received = 0
        plain = socket.socket(address[0], socket.SOCK_STREAM)
        self._socket: Union[socket.socket, ssl.SSLSocket] = plain
        try:
            plain.settimeout(self._left_s())
            plain.connect(address[1])
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                wrapped = context.wrap_socket(plain, server_hostname=server_name, do_handshake_on_connect=False)
                self._socket = wrapped
                wrapped.settimeout(self._left_s())
                wrapped.do_handshake()
        except BaseException:
            self.close()
            raise

    def _left_s(self) -> float:
        """Return the time until the deadline; a timeout of 0 would mean a socket that does not wait."""
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise socket.timeout("the deadline has passed")
        return left_s

    def sendall(self, data: bytes) -> None:
        """Send all of `data`; raises `socket.timeout` at the deadline."""
        view = memoryview(data)
        while view:
            self._socket.settimeout(self._left_s())
            count = self._socket.send(view[:_SEND_BYTES])
            self.sent += count
            view = view[count:]

    def receive_into(self, buffer: Any) -> int:
        """Read some bytes into `buffer`, and return their number, 0 at the end; raises `socket.timeout`."""
        self._socket.settimeout(self._left_s())
        count = self._socket.recv_into(buffer)
        self.received += count
        return count

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a reader of the connection, as `http.client.HTTPResponse` asks for; closing it closes nothing."""
        return io.BufferedReader(_Reader(self))

    @property
    def is_quiet(self) -> bool:
        """True where nothing has arrived that nobody asked for, such as the end of the connection."""
        try:
            if hasattr(select, "poll"):
                poll = select.poll()
                poll.register(self._socket.fileno(), select.POLLIN)
                return not poll.poll(0)
            return not select.select([self._socket], [], [], 0)[0]
        except (OSError, ValueError):  # closed meanwhile
            return False

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class _Reader(io.RawIOBase):
    """A raw stream of what a connection receives."""

    def __init__(self, connection: DeadlineSocket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.receive_into(buffer)
