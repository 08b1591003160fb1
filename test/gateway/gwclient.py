"""Clients of the gateway, with nothing but Python's library.

A Follower keeps a copy of a view by the events of a stream: it is strict (a row that goes must have been
there), and comes again with the id of the last event when the connection is lost, as a browser does.
"""
import base64
import collections
import hashlib
import json
import os
import socket
import struct
import threading
import time


def canonical(row):
    """A row as text that is the same for equal rows; numbers keep their digits."""
    return json.dumps(row, sort_keys=True)


def parse(text):
    return json.loads(text, parse_float=lambda digits: "number " + digits, parse_int=lambda digits: "number " + digits)


class Closed(Exception):
    pass


class Lines:
    """A socket as lines and bytes; a timeout is a closed connection."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def more(self):
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            raise Closed(str(error))
        if not data:
            raise Closed("end")
        self.buffer += data

    def line(self):
        while b"\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r").decode()

    def bytes(self, count):
        while len(self.buffer) < count:
            self.more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data


def connect(port, timeout=60):
    try:
        sock = socket.create_connection(("127.0.0.1", port), timeout)
    except OSError as error:
        raise Closed(str(error))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def request(sock, path, headers):
    text = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    try:
        sock.sendall(text.encode())
    except OSError as error:
        raise Closed(str(error))
    lines = Lines(sock)
    status = int(lines.line().split()[1])
    fields = {}
    while line := lines.line():
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return lines, status, fields


def sse_events(port, path, headers, last_id):
    """(id or None, data) of each event; the first one is (None, None) when the stream has begun."""
    headers = dict(headers)
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    sock = connect(port)
    lines, status, fields = request(sock, path, headers)
    if status != 200:
        raise Closed(f"status {status}: {lines.bytes(int(fields.get('content-length', 0))).decode()}")
    yield sock, None
    event_id, data = None, None
    while True:
        line = lines.line()
        if line == "id" or line.startswith("id: "):
            event_id = line[4:]
        elif line.startswith("data: "):
            data = line[6:]
        elif line == "":
            yield event_id, data
            event_id, data = None, None


def ws_events(port, path, headers, last_id):
    """The same of a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    headers = dict(headers, **{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"})
    if last_id is not None:
        path += ("&" if "?" in path else "?") + "last_event_id=" + last_id
    sock = connect(port)
    lines, status, fields = request(sock, path, headers)
    if status != 101:
        raise Closed(f"status {status}")
    expected = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    if fields["sec-websocket-accept"] != expected:
        raise Closed("no WebSocket")
    yield sock, None
    message = b""
    while True:
        first, second = lines.bytes(2)
        length = second & 127
        if length == 126:
            length, = struct.unpack(">H", lines.bytes(2))
        elif length == 127:
            length, = struct.unpack(">Q", lines.bytes(8))
        payload = lines.bytes(length)
        if first & 15 == 8:
            raise Closed(f"close {struct.unpack('>H', payload[:2])[0] if payload else ''}")
        if first & 15 == 9:
            continue
        message += payload
        if first & 128:
            yield json.loads(message).get("id"), message.decode()
            message = b""


class Follower(threading.Thread):
    """Follows a path for ever; all it knows is below "lock"."""

    def __init__(self, port, path, websocket=False, headers=None):
        super().__init__(daemon=True)
        self.port, self.path, self.websocket, self.headers = port, path, websocket, headers or {}
        self.lock = threading.Lock()
        self.rows = collections.Counter()
        self.last_id = None
        self.resets = 0
        self.connections = 0
        self.changes = 0
        self.ready = False
        self.errors = []        # what must not be
        self.messages = []      # errors that the gateway told
        self.states = []
        self.sock = None
        self.stopped = False

    def run(self):
        while not self.stopped:
            try:
                self.follow()
            except Closed as closed:
                self.why = str(closed)
            except Exception as error:      # a bug of this program is one of the test
                with self.lock:
                    self.errors.append(repr(error))
            if self.sock:
                self.sock.close()
            time.sleep(0.05)

    def follow(self):
        events = (ws_events if self.websocket else sse_events)(self.port, self.path, self.headers, self.last_id)
        self.sock, _ = next(events)
        with self.lock:
            self.connections += 1
        for event_id, data in events:
            with self.lock:
                self.take(event_id, data)

    def take(self, event_id, data):
        if data is not None:
            event = parse(data)
            operation = event["operation"]
            if operation == "reset":
                self.rows.clear()
                self.resets += 1
                self.ready = False
                self.last_id = None
            elif operation == "ready":
                self.ready = True
                if event["rows"] != "number " + str(sum(self.rows.values())):
                    self.errors.append(f"{event['rows']} rows are told, and {sum(self.rows.values())} came")
            elif operation == "error":
                self.messages.append(event)
            elif operation == "state":
                self.states.append(event["state"])
            elif operation != "ping":
                if operation != "initial":
                    self.changes += 1
                    if event["id"] != event_id:
                        self.errors.append(f"{event['id']} has id {event_id}")
                if "old" in event:
                    old = canonical(event["old"])
                    if self.rows[old] == 0:
                        self.errors.append(f"a row goes that is not there: {data}")
                    self.rows[old] -= 1
                    if self.rows[old] <= 0:
                        del self.rows[old]
                if "new" in event:
                    self.rows[canonical(event["new"])] += 1
        if event_id is not None:
            self.last_id = event_id or None

    def stop(self):
        self.stopped = True
        if self.sock:
            self.sock.close()

    def cut(self):
        """Lose the connection."""
        if self.sock:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
