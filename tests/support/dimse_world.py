"""A real house with a running DICOM port, and a small client that can say wrong things on purpose."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.filewriter import write_dataset

from leadglass.access import House
from leadglass.compose.home import Home, init_home
from leadglass.dicom.command import NO_DATA_SET, decode_command, encode_command
from leadglass.dimse import DimseServer
from leadglass.settings import load
from leadglass.storage import tables as t
from leadglass.terms import Subject

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFAULT = ((1, VERIFICATION, (IMPLICIT,)), (3, CT, (EXPLICIT,)))


@dataclass
class World:
    house: House
    home: Home
    server: DimseServer
    plain: int
    tls: int
    me: Subject
    thread: threading.Thread = field(repr=False)

    def rows(self, table: Any) -> list[Any]:
        with self.house.database.read() as connection:
            return list(connection.execute(sa.select(table)))

    @property
    def instances(self) -> int:
        return len(self.rows(t.instances))

    def objects(self) -> list[Path]:
        return [p for p in self.home.settings.objects_dir.rglob("*") if p.is_file()]


@contextmanager
def world(directory: Path, **overrides: Any) -> Iterator[World]:
    where = directory / "home"
    settings = load(where, overrides)
    init_home(settings, hostname="localhost", key_source=f"file:{directory / 'root.key'}")
    home = Home.open(load(where, overrides), is_server=True)
    context = home.renew_certificates().dicom_context()
    listening = []
    for _ in range(2):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        listening.append(sock)
    with home.house() as house:
        me = house.entrance.local("tester")
        house.administration.devices_add(me, "CT1", host="127.0.0.1")
        server = DimseServer(house, home.settings, plain=listening[0], tls=listening[1], tls_context=context)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield World(house, home, server, listening[0].getsockname()[1], listening[1].getsockname()[1], me, thread)
        finally:
            server.stop()
            thread.join(15)
            for sock in listening:
                sock.close()
            assert not thread.is_alive()


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def unit(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def associate(
    contexts: Any = DEFAULT, *, calling: str = "CT1", called: str = "LEADGLASS", max_length: int = 16384,
    version: int = 1, roles: Any = (), window: tuple[int, int] | None = None, more: bytes = b"",
) -> bytes:
    body = struct.pack(">HH", version, 0) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract, transfers in contexts:
        inner = item(0x30, abstract.encode()) + b"".join(item(0x40, uid.encode()) for uid in transfers)
        body += item(0x20, bytes((number, 0, 0, 0)) + inner)
    user = item(0x51, struct.pack(">I", max_length))
    if window:
        user += item(0x53, struct.pack(">HH", *window))
    for uid, scu, scp in roles:
        user += item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes((scu, scp)))
    return unit(1, body + item(0x50, user + more))


def pdata(context: int, data: bytes, *, is_command: bool, is_last: bool = True) -> bytes:
    return unit(4, struct.pack(">IBB", len(data) + 2, context, is_command | is_last << 1) + data)


class Client:
    """One association, spoken by hand."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=15)
        self.sock: socket.socket = tls.wrap_socket(raw, server_hostname="localhost") if tls else raw

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def read(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def open(self, contexts: Any = DEFAULT, **how: Any) -> tuple[int, bytes]:
        self.sock.sendall(associate(contexts, **how))
        return self.read()

    def command(self, context: int, values: dict[str, Any]) -> bytes:
        return pdata(context, encode_command(values), is_command=True)

    def answer(self) -> dict[str, Any]:
        kind, body = self.read()
        assert kind == 4, (kind, body)
        return decode_command(body[6:])

    def echo(self) -> int:
        self.sock.sendall(self.command(1, {
            "AffectedSOPClassUID": VERIFICATION, "CommandField": 0x30, "MessageID": 7, "CommandDataSetType": NO_DATA_SET}))
        return self.answer()["Status"]

    def begin_store(self, sop_class: str, instance: str, *, context: int = 3, field: int = 1) -> None:
        self.sock.sendall(self.command(context, {
            "AffectedSOPClassUID": sop_class, "CommandField": field, "MessageID": 9, "Priority": 0,
            "CommandDataSetType": 1, "AffectedSOPInstanceUID": instance}))

    def store(
        self, data: bytes, sop_class: str, instance: str, *, context: int = 3, piece: int = 16000, field: int = 1
    ) -> dict[str, Any]:
        self.begin_store(sop_class, instance, context=context, field=field)
        for at in range(0, max(1, len(data)), piece):
            self.sock.sendall(pdata(
                context, data[at : at + piece], is_command=False, is_last=at + piece >= len(data)))
        return self.answer()

    def release(self) -> int:
        self.sock.sendall(unit(5, bytes(4)))
        return self.read()[0]

    def is_closed_within(self, seconds: float) -> bool:
        self.sock.settimeout(seconds)
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


def ct(number: int = 1, **changes: Any) -> tuple[bytes, str]:
    """Return (data set in explicit little endian, SOP Instance UID) of a real CT with another instance UID."""
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.10.999.{number}"
    for name, value in changes.items():
        setattr(dataset, name, value)
    out = BytesIO()
    from pydicom.filebase import DicomFileLike

    stream = DicomFileLike(out)
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, dataset)
    return out.getvalue(), str(dataset.SOPInstanceUID)


def eventually(check: Any, seconds: float = 8.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.05)
    return bool(check())
