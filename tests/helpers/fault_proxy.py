"""A TCP proxy on loopback that delays, limits, damages and breaks what passes."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType

_CHUNK = 1 << 16
_NOW = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection


@dataclass(frozen=True)
class Fault:
    """What happens to connections; everything applies to bytes that arrive while it is set.

    Attributes:
        delay_s: one way, in both directions.
        mbit_s: rate of each direction; 0 is unlimited.
        black_hole: nothing passes in any direction, and nothing is closed.
        half_open: requests pass, and replies do not: the server is gone and its end was never heard.
        slow_body_s: time from one byte of a reply to the next.
        garbage: replies are bytes without meaning, of the same number.
        reset_after: connections are reset after so many bytes of replies; None: never.
        refuse: new connections are reset at once.
    """

    delay_s: float = 0.0
    mbit_s: float = 0.0
    black_hole: bool = False
    half_open: bool = False
    slow_body_s: float = 0.0
    garbage: bool = False
    reset_after: int | None = None
    refuse: bool = False


class FaultProxy:
    """A proxy to a port of this machine, to be used as a context manager.

    Attributes:
        port: where it listens.
        fault: in effect; tests replace it at any time.
        connections: number of accepted connections.
    """

    def __init__(self, target_port: int, fault: Fault | None = None) -> None:
        self.fault = fault or Fault()
        self.connections = 0
        self._target = target_port
        self._random = random.Random(0)
        self._links: set[_Link] = set()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def retarget(self, port: int) -> None:
        """Lead new connections to another port."""
        self._target = port

    def reset_all(self) -> None:
        """Reset all connections."""
        for link in list(self._links):
            link.reset()

    def close(self) -> None:
        """Stop, and reset all connections."""
        self._closed.set()
        self._thread.join()
        self._listener.close()
        self.reset_all()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            if self.fault.refuse:
                _reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 1)
            except OSError:
                _reset(client)
                continue
            self._links.add(_Link(self, client, server))

    def forget(self, link: _Link) -> None:
        """Drop a connection that has ended."""
        self._links.discard(link)

    def damaged(self, data: bytes) -> bytes:
        """Return bytes without meaning, as many as `data`."""
        return self._random.randbytes(len(data))


class _Link:
    """Both directions of one connection: in each, one thread reads, and one writes what is due."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self.replied = 0
        for connection in (client, server):
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink, is_reply in ((client, server, False), (server, client, True)):
            pipe = _Pipe()
            threading.Thread(target=self._read, args=(source, pipe, is_reply), daemon=True).start()
            threading.Thread(target=self._write, args=(sink, pipe, is_reply), daemon=True).start()

    def reset(self) -> None:
        """Reset both sides."""
        self._proxy.forget(self)
        _reset(self._client)
        _reset(self._server)

    def _read(self, source: socket.socket, pipe: _Pipe, is_reply: bool) -> None:
        while True:
            try:
                data = source.recv(_CHUNK)
            except OSError:
                data = b""
            fault = self._proxy.fault
            if fault.black_hole or (is_reply and fault.half_open):
                if not data:
                    return  # the end is not passed on either
                continue
            pipe.put(data, fault)
            if not data:
                return

    def _write(self, sink: socket.socket, pipe: _Pipe, is_reply: bool) -> None:
        try:
            while data := pipe.take():
                fault = self._proxy.fault
                if fault.black_hole or (is_reply and fault.half_open):
                    continue
                if is_reply:
                    self._reply(sink, self._proxy.damaged(data) if fault.garbage else data, fault)
                else:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.reset()

    def _reply(self, sink: socket.socket, data: bytes, fault: Fault) -> None:
        if fault.reset_after is not None:
            sink.sendall(data[: max(0, fault.reset_after - self.replied)])
            self.replied += len(data)
            if self.replied >= fault.reset_after:
                raise OSError("reset on purpose")
        elif fault.slow_body_s:
            for i in range(len(data)):
                sink.sendall(data[i : i + 1])
                time.sleep(fault.slow_body_s)
        else:
            sink.sendall(data)


class _Pipe:
    """Data on its way: it arrives after the delay, and not faster than the rate."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._changed = threading.Condition()
        self._sent_s = 0.0  # when the last byte has left the sender's side

    def put(self, data: bytes, fault: Fault) -> None:
        """Send bytes; none stand for the end."""
        with self._changed:
            self._sent_s = max(self._sent_s, time.monotonic())
            if fault.mbit_s:
                self._sent_s += len(data) * 8e-6 / fault.mbit_s
            self._waiting.append((self._sent_s + fault.delay_s, data))
            self._changed.notify()

    def take(self) -> bytes:
        """Return the next bytes once they have arrived."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            due_s, data = self._waiting.popleft()
        time.sleep(max(0.0, due_s - time.monotonic()))
        return data


def _reset(connection: socket.socket) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
        connection.shutdown(socket.SHUT_RD)  # wakes a thread that reads
    except OSError:
        pass
    connection.close()
