"""Storage commitment as a modality meets it: durable before it is answered, reported until it was taken."""

import json
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa
from dimse_world import CT, EXPLICIT, IMPLICIT, VERIFICATION, Client, ct, eventually, pdata, unit, world
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import AE, evt

from leadglass.dicom.command import NO_DATA_SET, decode_command, encode_command
from leadglass.dimse import report_due
from leadglass.storage import tables as t

COMMIT, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
MISSING = "1.2.826.0.1.3680043.10.999.9999"
CONTEXTS = ((1, VERIFICATION, (IMPLICIT,)), (3, CT, (EXPLICIT,)), (5, COMMIT, (EXPLICIT,)))


def request(transaction, *references):
    dataset = Dataset()
    dataset.TransactionUID = transaction
    dataset.ReferencedSOPSequence = []
    for sop_class, uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        dataset.ReferencedSOPSequence.append(item)
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    write_dataset(out, dataset)
    return out.getvalue()


def read(data):
    out = DicomBytesIO(data)
    return dcmread(out, force=True)


def ask(client, data, *, action=1, instance=WELL_KNOWN):
    client.sock.sendall(pdata(5, encode_command({
        "RequestedSOPClassUID": COMMIT, "CommandField": 0x0130, "MessageID": 21, "CommandDataSetType": 1,
        "RequestedSOPInstanceUID": instance, "ActionTypeID": action}), is_command=True) + pdata(5, data, is_command=False))
    return client.answer()


def event(client):
    """Return (command, data set) of the N-EVENT-REPORT that comes."""
    parts = b""
    command = None
    while True:
        kind, body = client.read()
        assert kind == 4, (kind, body)
        at = 0
        while at < len(body):
            length = int.from_bytes(body[at : at + 4], "big")
            control, part = body[at + 5], body[at + 6 : at + 4 + length]
            at += 4 + length
            if control & 1:
                command = decode_command(part)
            else:
                parts += part
                if control & 2:
                    return command, parts


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with world(tmp_path_factory.mktemp("commit"), association_idle_seconds=5) as running:
        running.uids = []
        with Client(running.plain) as client:
            client.open()
            for number in range(801, 804):
                data, uid = ct(number)
                assert client.store(data, CT, uid)["Status"] == 0
                running.uids.append(uid)
            assert client.release() == 6
        yield running


def rows(port, transaction):
    found = port.rows(t.commitments.select().where(t.commitments.c.transaction_uid == transaction).subquery())
    return [(r.state, r.tries) for r in found]


def test_who_stays_is_told_on_the_same_association(port):
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        answer = ask(client, request("1.2.3.1", *((CT, uid) for uid in port.uids), (CT, MISSING),
                                     ("1.2.840.10008.5.1.4.1.1.4", port.uids[0])))
        assert (answer["CommandField"], answer["Status"], answer["ActionTypeID"]) == (0x8130, 0, 1)
        assert (answer["AffectedSOPClassUID"], answer["AffectedSOPInstanceUID"]) == (COMMIT, WELL_KNOWN)
        assert rows(port, "1.2.3.1") == [("waiting", 0)]  # durable before it is reported
        command, data = event(client)
        assert (command["CommandField"], command["EventTypeID"]) == (0x0100, 2)
        report = read(data)
        assert report.TransactionUID == "1.2.3.1"
        assert report.RetrieveAETitle == "LEADGLASS"
        assert [i.ReferencedSOPInstanceUID for i in report.ReferencedSOPSequence] == port.uids
        assert [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in report.FailedSOPSequence] == [
            (MISSING, 0x0112), (port.uids[0], 0x0119)]
        client.sock.sendall(pdata(5, encode_command({
            "AffectedSOPClassUID": COMMIT, "CommandField": 0x8100, "MessageIDBeingRespondedTo": command["MessageID"],
            "CommandDataSetType": NO_DATA_SET, "Status": 0, "EventTypeID": 2}), is_command=True))
        assert client.echo() == 0
        assert rows(port, "1.2.3.1") == [("done", 0)]
        assert client.release() == 6
    last = [json.loads(r.record) for r in port.rows(t.ledger.select().order_by(t.ledger.c.index).subquery())
            if r.action == "archive:instance:commit"]
    assert last[-1]["details"] == {"transaction": "1.2.3.1", "device": "CT1", "tries": 0, "safe": 3, "failed": 2}


def test_a_request_may_come_before_the_response_to_the_report(port):
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        assert ask(client, request("1.2.3.2", (CT, port.uids[0])))["Status"] == 0
        command, data = event(client)
        assert (command["EventTypeID"], "FailedSOPSequence" in read(data)) == (1, False)
        assert client.echo() == 0
        client.sock.sendall(pdata(5, encode_command({
            "CommandField": 0x8100, "MessageIDBeingRespondedTo": command["MessageID"], "CommandDataSetType": NO_DATA_SET,
            "Status": 0x0110}), is_command=True))
        assert client.echo() == 0
        assert rows(port, "1.2.3.2") == [("waiting", 0)]  # it was not taken: the chores go on


@pytest.mark.parametrize(("data", "how", "status"), [
    (b"", {}, 0x0115), (request("1.2.3.3"), {}, 0x0115), (request("", (CT, MISSING)), {}, 0x0115),
    (request("1.2.3.3", (CT, MISSING)), {"action": 2}, 0x0123),
    (request("1.2.3.3", (CT, MISSING)), {"instance": "1.2.3"}, 0x0112), (b"\x08\x00\x99\x11SQ\x00\x00\xff\xff\xff\x7f", {}, 0x0115),
])
def test_what_cannot_be_promised_is_refused(port, data, how, status):
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        assert ask(client, data, **how)["Status"] == status
        assert client.echo() == 0
    assert not rows(port, "1.2.3.3")


def test_a_transaction_names_one_set_of_instances(port):
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        for uid, status in ((port.uids[0], 0), (port.uids[0], 0), (port.uids[1], 0x0115)):
            assert ask(client, request("1.2.3.4", (CT, uid)))["Status"] == status
            if status == 0:
                event(client)
    assert len(rows(port, "1.2.3.4")) == 1


def test_damage_is_no_promise(port):
    data, uid = ct(810)
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        before = set(port.objects())
        assert client.store(data, CT, uid)["Status"] == 0
        (path,) = set(port.objects()) - before
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
        assert ask(client, request("1.2.3.5", (CT, uid)))["Status"] == 0
        command, found = event(client)
        assert command["EventTypeID"] == 2
        assert [i.FailureReason for i in read(found).FailedSOPSequence] == [0x0110]


class Waiting:
    """A modality that takes reports on an association of its own."""

    def __init__(self, status=0x0000):
        self.got = []
        self.ae = AE("CT1")
        self.ae.add_supported_context(COMMIT, [EXPLICIT, IMPLICIT], scu_role=False, scp_role=True)
        self.status = status
        self.server = self.ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)])
        self.port = self.server.server_address[1]

    def _take(self, happening):
        self.got.append((happening.event_type, happening.event_information, str(happening.assoc.requestor.ae_title)))
        return self.status, None


def set_port(port, number):
    with port.house.database.write() as connection:
        connection.execute(sa.update(t.devices).where(t.devices.c.ae_title == "CT1").values(port=number))


def leave(port, transaction, *uids):
    """Ask, and leave right after the answer, as most modalities do."""
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        assert ask(client, request(transaction, *((CT, uid) for uid in uids)))["Status"] == 0
        assert client.release() == 6
    assert eventually(lambda: not port.server._running)


def test_who_leaves_is_told_on_a_new_association_until_it_takes_it(port):
    with port.house.database.write() as connection:
        connection.execute(sa.update(t.commitments).values(state="done"))
    leave(port, "1.2.3.6", *port.uids)
    assert report_due(port.house) == 0  # no port is registered
    assert rows(port, "1.2.3.6") == [("waiting", 1)]
    there = Waiting(status=0x0110)
    set_port(port, there.port)

    def make_due():
        with port.house.database.write() as connection:
            connection.execute(sa.update(t.commitments).where(t.commitments.c.state == "waiting").values(next_try_at=0.0))

    try:
        assert report_due(port.house) == 0  # there is a pause
        make_due()
        assert report_due(port.house) == 0  # it does not take it
        assert len(there.got) == 1
        there.status = 0
        make_due()
        assert report_due(port.house) == 1
        assert rows(port, "1.2.3.6") == [("done", 3)]
        kind, information, calling = there.got[-1]
        assert (kind, calling.strip(), information.TransactionUID) == (1, "LEADGLASS", "1.2.3.6")
        assert [i.ReferencedSOPInstanceUID for i in information.ReferencedSOPSequence] == port.uids
        make_due()
        assert report_due(port.house) == 0
    finally:
        set_port(port, 0)
        there.server.shutdown()


def test_after_a_week_it_is_given_up_with_an_alert(port):
    with port.house.database.write() as connection:
        connection.execute(sa.update(t.commitments).values(state="done"))
    leave(port, "1.2.3.7", port.uids[0])
    with port.house.database.write() as connection:
        connection.execute(sa.update(t.commitments).where(t.commitments.c.transaction_uid == "1.2.3.7").values(
            requested_at=time.time() - 8 * 86400, next_try_at=0.0))
    assert report_due(port.house) == 0
    assert rows(port, "1.2.3.7") == [("given-up", 1)]
    last = port.rows(t.ledger.select().order_by(t.ledger.c.index).subquery())[-1]
    assert (last.event, last.action, last.outcome) == ("alert", "archive:instance:commit", "failed")


def test_an_asker_that_vanishes_is_told_later(port):
    with port.house.database.write() as connection:
        connection.execute(sa.update(t.commitments).values(state="done"))
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        assert ask(client, request("1.2.3.8", (CT, port.uids[0])))["Status"] == 0
        event(client)
        client.sock.sendall(unit(7, bytes(4)))
    assert eventually(lambda: not port.server._running)
    assert port.house.sending.commitments.claim().transaction_uid == "1.2.3.8"


def test_what_ended_a_month_ago_is_forgotten_and_nothing_that_waits(port):
    with port.house.database.write() as connection:
        for uid, state, days in (("1.2.3.91", "done", 31), ("1.2.3.92", "done", 29), ("1.2.3.93", "waiting", 31)):
            at = time.time() - days * 86400
            connection.execute(sa.insert(t.commitments).values(
                transaction_uid=uid, ae_title="OTHER", source="device:OTHER", instances="[]", state=state, tries=1, next_try_at=at,
                requested_at=at))
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        assert ask(client, request("1.2.3.94", (CT, port.uids[0])))["Status"] == 0
    assert [bool(rows(port, f"1.2.3.{n}")) for n in (91, 92, 93)] == [False, True, True]
    with port.house.database.write() as connection:
        connection.execute(sa.delete(t.commitments).where(t.commitments.c.ae_title == "OTHER"))


def test_a_device_that_asks_without_end_fills_neither_queue_nor_disk(port, monkeypatch):
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        monkeypatch.setattr("leadglass.access.commitments._MOST_WAITING", 0)
        assert ask(client, request("1.2.3.70", (CT, MISSING)))["Status"] == 0xA700
        monkeypatch.undo()
        archive, kept = port.house.archive, port.house.archive.settings
        archive.settings = replace(kept, disk_reserve_bytes=2**60)
        assert ask(client, request("1.2.3.71", (CT, MISSING)))["Status"] == 0xA700
        archive.settings = kept
        assert client.release() == 6
    assert rows(port, "1.2.3.70") == rows(port, "1.2.3.71") == []


def test_a_response_to_nothing_ends_the_association(port):
    with Client(port.plain) as client:
        client.open(CONTEXTS)
        client.sock.sendall(pdata(5, encode_command({
            "CommandField": 0x8100, "MessageIDBeingRespondedTo": 4711, "CommandDataSetType": NO_DATA_SET, "Status": 0}),
            is_command=True))
        assert client.read()[0] == 7
