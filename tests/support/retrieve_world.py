"""A house with one study, a workstation that asks for it, and receivers that say what they are told to say."""

import json
import struct
import time
from contextlib import contextmanager

from dimse_world import CT, EXPLICIT, IMPLICIT, Client, ct, pdata, world
from pynetdicom import AE, evt

from leadglass.dicom.command import decode_command, encode_command
from leadglass.storage import tables as t

MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY = "1.2.826.0.1.3680043.10.999.77"


def key(tag, value):
    value += b"\x00" * (len(value) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def identifier(level, **uids):
    tags = {"patient": 0x00100020, "study": 0x0020000D, "series": 0x0020000E, "instance": 0x00080018}
    found = {0x00080052: level.encode()} | {tags[name]: value.encode() for name, value in uids.items()}
    return b"".join(key(tag, value) for tag, value in sorted(found.items()))


class Destination:
    """A receiver that says what it is told to say."""

    def __init__(self, ae_title="DEST", *, syntaxes=(EXPLICIT, IMPLICIT), answer=lambda _: 0x0000, pause=0.0):
        self.got, self.datasets = [], []
        self.ae = AE(ae_title)
        self.ae.add_supported_context(CT, list(syntaxes))
        self.ae.add_supported_context("1.2.840.10008.1.1")
        self._answer, self._pause = answer, pause
        self.server = self.ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.port = self.server.server_address[1]

    def _store(self, event):
        self.got.append(event.request)
        self.datasets.append(event.request.DataSet.getvalue())
        time.sleep(self._pause)
        return self._answer(len(self.got))

    def close(self):
        if self.server in self.ae._servers:
            self.server.shutdown()


@contextmanager
def destination(port, ae_title="DEST", *, role="workstation", **how):
    there = Destination(ae_title, **how)
    port.house.administration.devices_add(port.me, ae_title, host="127.0.0.1", port=there.port, role=role)
    try:
        yield there
    finally:
        there.close()
        port.house.administration.devices_revoke(port.me, ae_title)


@contextmanager
def retrieve_world(directory):
    with world(directory, association_idle_seconds=5) as running:
        running.house.administration.devices_add(running.me, "WS", host="127.0.0.1", role="workstation")
        running.stored = {}
        with Client(running.plain) as client:
            client.open()
            for number in range(701, 706):
                data, uid = ct(number, StudyInstanceUID=STUDY, PatientID="P-77")
                assert client.store(data, CT, uid)["Status"] == 0
                running.stored[uid] = data
            assert client.release() == 6
        yield running


class Asker(Client):
    """A workstation that asks and reads every answer."""

    def ask(self, command, data, context=1, **more):
        self.sock.sendall(pdata(context, encode_command({
            "AffectedSOPClassUID": self.model, "CommandField": command, "MessageID": 11, "Priority": 0, "CommandDataSetType": 1,
            **more}), is_command=True) + pdata(context, data, is_command=False))

    def reply(self):
        """Return (command, data set) of the next message."""
        found, data, raw = None, b"", b""
        while True:
            kind, body = self.read()
            assert kind == 4, (kind, body)
            at = 0
            while at < len(body):
                length, _, control = struct.unpack_from(">IBB", body, at)
                part = body[at + 6 : at + 4 + length]
                at += 4 + length
                if control & 1:
                    raw += part
                    if not control & 2:
                        continue
                    found = decode_command(raw)
                    if found.get("CommandDataSetType", 0x0101) == 0x0101:
                        return found, b""
                else:
                    data += part
                    if control & 2:
                        return found, data

    def replies(self):
        while True:
            found, data = self.reply()
            yield found, data
            if found["Status"] not in (0xFF00, 0xFF01):
                return


@contextmanager
def asking(port, model=MOVE, *, calling="WS", more=(), max_length=0, roles=()):
    with Asker(port.plain) as asker:
        asker.model = model
        assert asker.open(((1, model, (IMPLICIT,)), *more), calling=calling, roles=roles, max_length=max_length)[0] == 2
        yield asker


def counts(command):
    return tuple(command.get(f"NumberOf{name}Suboperations") for name in ("Remaining", "Completed", "Failed", "Warning"))


def ledger(port, action="archive:study:send"):
    rows = port.rows(t.ledger.select().order_by(t.ledger.c.index).subquery())
    return [(row, json.loads(row.record)) for row in rows if row.action == action]


def fetch(asker, data, *, status=0, at_each=lambda n: None):
    """Ask, take what comes, answer it; return (instances, last answer, its data set)."""
    asker.ask(0x10, data)
    got = {}
    while True:
        command, body = asker.reply()
        if command["CommandField"] == 0x0001:
            got[command["AffectedSOPInstanceUID"]] = body
            at_each(len(got))
            asker.sock.sendall(pdata(3, encode_command({
                "CommandField": 0x8001, "MessageIDBeingRespondedTo": command["MessageID"], "CommandDataSetType": 0x0101,
                "AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": command["AffectedSOPInstanceUID"],
                "Status": status(len(got)) if callable(status) else status}), is_command=True))
        elif command["Status"] != 0xFF00:
            return got, command, body


TAKES = {"more": ((3, CT, (EXPLICIT,)),), "roles": ((CT, 0, 1),)}
