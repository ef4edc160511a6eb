"""C-MOVE and C-GET as a workstation meets them: real house, real sockets, pynetdicom as the one that receives."""

import contextlib
import socket
import struct
import threading
import time
from contextlib import contextmanager

import pytest
from dimse_world import CT, EXPLICIT, IMPLICIT, Client, ct, eventually, pdata, world
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


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with world(tmp_path_factory.mktemp("retrieve"), association_idle_seconds=5) as running:
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
    import json
    rows = port.rows(t.ledger.select().order_by(t.ledger.c.index).subquery())
    return [(row, json.loads(row.record)) for row in rows if row.action == action]


def test_a_study_is_moved_and_recorded_with_its_destination(port):
    with destination(port) as there, asking(port) as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
        answers = list(asker.replies())
        assert [counts(a)[:2] for a, _ in answers[:-1]] == [(5 - n, n) for n in range(6)]
        last, data = answers[-1]
        assert (last["Status"], counts(last), data) == (0x0000, (None, 5, 0, 0), b"")
    assert set(there.datasets) == set(port.stored.values())  # byte by byte as it came
    assert {str(r.AffectedSOPInstanceUID) for r in there.got} == set(port.stored)
    assert {(str(r.MoveOriginatorApplicationEntityTitle), int(r.MoveOriginatorMessageID)) for r in there.got} == {("WS", 11)}
    decisions = [r for row, r in ledger(port) if r["details"].get("destination") == "DEST"]
    assert [r["event"] for r in decisions][-2:] == ["decision", "outcome"]
    assert decisions[-1]["details"]["instances"] == 5
    assert decisions[-1]["details"]["bytes"] > sum(map(len, port.stored.values()))
    assert {r["study"] for r in decisions} == {STUDY}


@pytest.mark.parametrize(("level", "keys", "number"), [
    ("STUDY", {"study": STUDY}, 5), ("STUDY", {"study": STUDY + "\\1.2.3"}, 5), ("STUDY", {"study": "1.2.3"}, 0),
    ("IMAGE", {"instance": "1.2.826.0.1.3680043.10.999.701\\1.2.826.0.1.3680043.10.999.703"}, 2),  # relational
    ("IMAGE", {"study": STUDY, "instance": "1.2.826.0.1.3680043.10.999.701"}, 1),
    ("IMAGE", {"study": "1.2.3", "instance": "1.2.826.0.1.3680043.10.999.701"}, 0),
])
def test_keys_name_what_is_moved(port, level, keys, number):
    with destination(port) as there, asking(port) as asker:
        asker.ask(0x21, identifier(level, **keys), MoveDestination="DEST")
        last, _ = list(asker.replies())[-1]
        assert (last["Status"], counts(last)) == (0, (None, number, 0, 0))
        assert len(there.got) == number


def test_a_patient_is_moved_by_the_patient_root_alone(port):
    with destination(port) as there:
        with asking(port, PATIENT_MOVE) as asker:
            asker.ask(0x21, identifier("PATIENT", patient="P-77"), MoveDestination="DEST")
            assert counts(list(asker.replies())[-1][0]) == (None, 5, 0, 0)
        assert len(there.got) == 5
        with asking(port) as asker:
            asker.ask(0x21, identifier("PATIENT", patient="P-77"), MoveDestination="DEST")
            assert list(asker.replies())[-1][0]["Status"] == 0xA900


@pytest.mark.parametrize("data", [
    identifier("STUDY"), identifier("", study=STUDY), identifier("CAKE", study=STUDY), identifier("IMAGE", study=STUDY), b""])
def test_an_identifier_without_level_or_key_is_answered(port, data):
    with destination(port), asking(port) as asker:
        asker.ask(0x21, data, MoveDestination="DEST")
        assert [a["Status"] for a, _ in asker.replies()] == [0xA900]


@pytest.mark.parametrize("data", [
    b"\x08\x00\x52\x00\xff\xff\xff\x7fX", identifier("STUDY", study="1.2.x"), bytes(2**20 + 1)])
def test_a_broken_identifier_is_answered_and_the_association_goes_on(port, data):
    with destination(port), asking(port) as asker:
        for at in range(0, len(data), 100_000):
            if at == 0:
                asker.sock.sendall(pdata(1, encode_command({
                    "AffectedSOPClassUID": MOVE, "CommandField": 0x21, "MessageID": 11, "CommandDataSetType": 1,
                    "MoveDestination": "DEST"}), is_command=True))
            asker.sock.sendall(pdata(1, data[at : at + 100_000], is_command=False, is_last=at + 100_000 >= len(data)))
        assert asker.reply()[0]["Status"] == 0xC000
        asker.ask(0x21, identifier("STUDY", study="1.2.3"), MoveDestination="DEST")
        assert asker.reply()[0]["Status"] == 0


@pytest.mark.parametrize("role", ["none", "modality", "without port"])
def test_a_destination_that_may_not_receive_is_unknown(port, role):
    admin = port.house.administration
    if role != "none":
        admin.devices_add(port.me, "NODEST", host="127.0.0.1", port=0 if role == "without port" else 1044,
                          role="workstation" if role == "without port" else role)
    try:
        with asking(port) as asker:
            asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="NODEST")
            assert [a["Status"] for a, _ in asker.replies()] == [0xA801]
    finally:
        if role != "none":
            admin.devices_revoke(port.me, "NODEST")


def test_who_may_not_read_may_not_send_either(port):
    with destination(port) as there, asking(port, calling="CT1") as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
        assert [a["Status"] for a, _ in asker.replies()] == [0x0124]
        assert not there.got


def failed_list(data):
    assert data[:4] == bytes.fromhex("08005800")
    return data[8:].rstrip(b"\x00").decode().split("\\")


def test_partial_failure_names_what_failed(port):
    with destination(port, answer=lambda n: 0xA700 if n == 2 else 0xB000 if n == 3 else 0) as there, asking(port) as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
        last, data = list(asker.replies())[-1]
        assert (last["Status"], counts(last)) == (0xB000, (None, 3, 1, 1))
        assert failed_list(data) == [str(there.got[1].AffectedSOPInstanceUID)]


def test_when_all_fails_it_is_said(port):
    with destination(port, answer=lambda _: 0xC000), asking(port) as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
        last, data = list(asker.replies())[-1]
        assert (last["Status"], counts(last)) == (0xA702, (None, 0, 5, 0))
        assert set(failed_list(data)) == set(port.stored)


def test_a_destination_that_is_not_there(port):
    with destination(port) as there, asking(port) as asker:
        there.close()
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
        last, _ = list(asker.replies())[-1]
        assert (last["Status"], counts(last)) == (0xA702, (None, 0, 5, 0))
        assert "does not answer" in last["ErrorComment"]


def test_nothing_is_converted_when_nothing_fits(port):
    with destination(port, syntaxes=["1.2.840.10008.1.2.4.50"]) as there, asking(port) as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
        last, _ = list(asker.replies())[-1]
        assert (last["Status"], counts(last)) == (0xA702, (None, 0, 5, 0))
        assert "transfer syntax" in last["ErrorComment"]
        assert not there.got


def test_cancel_between_two_suboperations(port):
    with destination(port, pause=0.3) as there, asking(port) as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
        assert asker.reply()[0]["Status"] == 0xFF00
        asker.sock.sendall(pdata(1, encode_command({
            "CommandField": 0x0FFF, "MessageIDBeingRespondedTo": 11, "CommandDataSetType": 0x0101}), is_command=True))
        last, _ = list(asker.replies())[-1]
        remaining, completed, failed, warning = counts(last)
        assert (last["Status"], failed, warning) == (0xFE00, 0, 0)
        assert remaining >= 3
        assert remaining + completed == 5
        assert len(there.got) == completed


def test_a_cancel_of_another_message_cancels_nothing(port):
    with destination(port, pause=0.05), asking(port) as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
        asker.sock.sendall(pdata(1, encode_command({
            "CommandField": 0x0FFF, "MessageIDBeingRespondedTo": 10, "CommandDataSetType": 0x0101}), is_command=True))
        assert counts(list(asker.replies())[-1][0]) == (None, 5, 0, 0)


def test_an_asker_who_leaves_ends_the_move(port):
    with destination(port, pause=0.3) as there:
        with asking(port) as asker:
            asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
            asker.reply()
        time.sleep(2)
        assert len(there.got) < 5


def test_an_asker_whose_access_ends_sends_no_further_byte(port):
    admin = port.house.administration
    admin.devices_add(port.me, "SHORT", host="127.0.0.1", role="workstation")
    with destination(port, pause=0.3) as there, asking(port, calling="SHORT") as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
        asker.reply()
        asker.reply()
        admin.devices_revoke(port.me, "SHORT")
        kinds = [asker.read()[0] for _ in range(2)]
        assert 7 in kinds
        sent = len(there.got)
        time.sleep(0.7)
        assert len(there.got) == sent <= 3


def test_a_destination_that_is_revoked_gets_no_further_byte(port):
    with destination(port, "LATER", pause=0.3) as there:
        with asking(port) as asker:
            asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="LATER")
            asker.reply()
            asker.reply()
            port.house.administration.devices_revoke(port.me, "LATER")
            last, data = list(asker.replies())[-1]
            assert last["Status"] == 0xB000
            assert len(failed_list(data)) >= 3
            assert len(there.got) <= 2
        port.house.administration.devices_add(port.me, "LATER", host="127.0.0.1", port=1, role="workstation")


# --- C-GET ----------------------------------------------------------------------------------------------------------
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


@pytest.mark.parametrize("max_length", [0, 16384, 128])
def test_a_study_is_fetched_byte_by_byte(port, max_length):
    with asking(port, GET, max_length=max_length, **TAKES) as asker:
        got, last, _ = fetch(asker, identifier("STUDY", study=STUDY))
        assert (last["Status"], counts(last)) == (0, (None, 5, 0, 0))
        assert got == port.stored
        assert asker.release() == 6
    closed = [r for _, r in ledger(port, "archive:study:read") if r["outcome"] == "done" and r["subject"]["name"] == "WS"]
    assert closed


def test_without_the_scp_role_nothing_is_pushed(port):
    with asking(port, GET, more=TAKES["more"]) as asker:
        got, last, data = fetch(asker, identifier("STUDY", study=STUDY))
        assert (got, last["Status"], counts(last)) == ({}, 0xA702, (None, 0, 5, 0))
        assert set(failed_list(data)) == set(port.stored)


def test_get_partial_failure_and_cancel(port):
    with asking(port, GET, **TAKES) as asker:
        got, last, data = fetch(asker, identifier("STUDY", study=STUDY), status=lambda n: 0xA700 if n == 1 else 0)
        assert (last["Status"], counts(last)) == (0xB000, (None, 4, 1, 0))
        assert failed_list(data) == [next(iter(got))]

        def cancel(number):
            if number == 2:
                asker.sock.sendall(pdata(1, encode_command({
                    "CommandField": 0x0FFF, "MessageIDBeingRespondedTo": 11, "CommandDataSetType": 0x0101}), is_command=True))

        got, last, _ = fetch(asker, identifier("STUDY", study=STUDY), at_each=cancel)
        assert (last["Status"], counts(last)) == (0xFE00, (3, 2, 0, 0))
        assert len(got) == 2


def test_who_may_not_read_gets_nothing(port):
    with asking(port, GET, calling="CT1", **TAKES) as asker:
        got, last, _ = fetch(asker, identifier("STUDY", study=STUDY))
        assert (got, last["Status"]) == ({}, 0x0124)


def test_wrong_answers_to_our_stores_end_the_association(port):
    for wrong in ({"MessageIDBeingRespondedTo": 4711}, {"CommandField": 0x8020}, {"Status": None}):
        with asking(port, GET, **TAKES) as asker:
            asker.ask(0x10, identifier("STUDY", study=STUDY))
            command, _ = asker.reply()
            while command["CommandField"] != 1:
                command, _ = asker.reply()
            answer = {"CommandField": 0x8001, "MessageIDBeingRespondedTo": command["MessageID"],
                      "CommandDataSetType": 0x0101, "Status": 0} | wrong
            asker.sock.sendall(pdata(3, encode_command({k: v for k, v in answer.items() if v is not None}), is_command=True))
            assert asker.is_closed_within(5)


# --- hostile receivers ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["rejects", "silence then close", "noise", "accepts nothing", "aborts at once", "endless unit"])
def test_hostile_receivers_cost_bounded_time(port, how):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(8)
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):
                if how == "silence then close":
                    continue
                sock.recv(65536)
                sock.sendall({
                    "rejects": bytes.fromhex("0300000000040001010 3".replace(" ", "")), "noise": b"HTTP/1.1 200 OK\r\n\r\n",
                    "accepts nothing": struct.pack(">BxI", 2, 68) + struct.pack(">HH", 1, 0) + bytes(64),
                    "aborts at once": bytes.fromhex("07000000000400000000"),
                    "endless unit": struct.pack(">BxI", 2, 0xFFFFFFF0) + bytes(100),
                }[how])
                sock.settimeout(3)
                while sock.recv(65536):
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port.house.administration.devices_add(
        port.me, "HOSTILE", host="127.0.0.1", port=listening.getsockname()[1], role="workstation")
    try:
        began = time.monotonic()
        with asking(port) as asker:
            asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="HOSTILE")
            last, _ = list(asker.replies())[-1]
            assert (last["Status"], counts(last)) == (0xA702, (None, 0, 5, 0))
            assert last["ErrorComment"]
        assert time.monotonic() - began < 10
    finally:
        stop.set()
        listening.shutdown(socket.SHUT_RDWR)  # close alone leaves the thread in accept, on a number that is used again
        thread.join(5)
        listening.close()
        assert not thread.is_alive()
        port.house.administration.devices_revoke(port.me, "HOSTILE")


def test_no_more_associations_go_out_than_the_setting_says(tmp_path):
    with world(tmp_path, max_outgoing=1) as running:
        admin = running.house.administration
        admin.devices_add(running.me, "WS", host="127.0.0.1", role="workstation")
        running.stored = {}
        data, uid = ct(1, StudyInstanceUID=STUDY)
        with Client(running.plain) as client:
            client.open()
            assert client.store(data, CT, uid)["Status"] == 0
        with destination(running, pause=1.0), asking(running) as first, asking(running) as second:
            first.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
            time.sleep(0.4)
            second.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="DEST")
            last, _ = list(second.replies())[-1]
            assert last["Status"] == 0xA702
            assert "too many" in last["ErrorComment"]
            assert list(first.replies())[-1][0]["Status"] == 0
        assert eventually(lambda: not running.server._running)


# --- over TLS, to a pinned certificate ------------------------------------------------------------------------------
@contextmanager
def tls_destination(port, tmp_path, ae_title, *, presents=None):
    """A pynetdicom receiver behind mutual TLS with the certificate that was issued to it, or to `presents`."""
    import ssl

    admin = port.house.administration
    admin.devices_add(port.me, ae_title, host="127.0.0.1", port=1, role="workstation")
    issued = admin.devices_issue(port.me, ae_title)
    if presents:
        admin.devices_add(port.me, presents, host="127.0.0.1", role="workstation")
        issued = admin.devices_issue(port.me, presents)
    for name, pem in (("key", issued.private_key_pem), ("crt", issued.certificate_pem), ("ca", issued.ca_pem)):
        (tmp_path / name).write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    context.load_verify_locations(tmp_path / "ca")
    context.verify_mode = ssl.CERT_REQUIRED  # ours must be good for client authentication
    got = []
    ae = AE(ae_title)
    ae.add_supported_context(CT, [EXPLICIT])
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False, ssl_context=context, evt_handlers=[
        (evt.EVT_C_STORE, lambda e: (got.append(e.request.DataSet.getvalue()), 0)[1])])
    with port.house.database.write() as connection:
        connection.execute(t.devices.update().where(t.devices.c.ae_title == ae_title).values(port=server.server_address[1]))
    try:
        yield got
    finally:
        server.shutdown()
        for title in filter(None, (ae_title, presents)):
            admin.devices_revoke(port.me, title)


def test_a_device_with_a_certificate_is_reached_over_tls_alone(port, tmp_path):
    from leadglass.dimse.requestor import echo

    with tls_destination(port, tmp_path, "TLSDEST") as got, asking(port) as asker:
        assert echo(port.house, port.me, "TLSDEST").pinned
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="TLSDEST")
        assert counts(list(asker.replies())[-1][0]) == (None, 5, 0, 0)
        assert set(got) == set(port.stored.values())


def test_another_certificate_of_the_same_authority_gets_no_byte(port, tmp_path):
    with tls_destination(port, tmp_path, "TLSDEST2", presents="IMPOSTOR") as got, asking(port) as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="TLSDEST2")
        last, _ = list(asker.replies())[-1]
        assert (last["Status"], counts(last)) == (0xA702, (None, 0, 5, 0))
        assert "another certificate" in last["ErrorComment"]
        assert not got


def test_a_device_with_a_certificate_that_answers_in_clear_gets_no_byte(port):
    with destination(port, "CLEAR") as there, asking(port) as asker:
        port.house.administration.devices_issue(port.me, "CLEAR")
        asker.ask(0x21, identifier("STUDY", study=STUDY), MoveDestination="CLEAR")
        last, _ = list(asker.replies())[-1]
        assert last["Status"] == 0xA702
        assert "does not speak TLS" in last["ErrorComment"]
        assert not there.got


# --- C-ECHO as we ask it --------------------------------------------------------------------------------------------
def test_echo_says_what_is_wrong(port):
    from leadglass.dimse.requestor import echo
    from leadglass.errors import Busy, Missing, Refused

    with destination(port, "ECHOED") as there:
        assert echo(port.house, port.me, "ECHOED").port == there.port
        there.ae.require_calling_aet = ["SOMEBODY"]
        with pytest.raises(Refused, match="does not know our AE title LEADGLASS: register it there"):
            echo(port.house, port.me, "ECHOED")
        there.close()
        with pytest.raises(Busy, match="does not answer at"):
            echo(port.house, port.me, "ECHOED")
    with pytest.raises(Missing, match="no device of that AE title takes associations: leadglass devices add"):
        echo(port.house, port.me, "CT1")
    with pytest.raises(Missing):
        echo(port.house, port.me, "NOBODY")
    assert [r["details"]["resource"] for _, r in ledger(port, "devices:device:echo")][-1] == "device:NOBODY"


def test_what_is_rejected_is_not_sent(port):
    uid = next(iter(port.stored))
    with port.house.database.write() as connection:
        connection.execute(t.instances.update().where(t.instances.c.sop_instance_uid == uid).values(rejection=1))
    try:
        with asking(port, GET, **TAKES) as asker:
            got, last, _ = fetch(asker, identifier("STUDY", study=STUDY))
            assert (last["Status"], counts(last)) == (0, (None, 4, 0, 0))
            assert uid not in got
            assert fetch(asker, identifier("IMAGE", instance=uid))[0] == {}
    finally:
        with port.house.database.write() as connection:
            connection.execute(t.instances.update().where(t.instances.c.sop_instance_uid == uid).values(rejection=None))


def test_damage_in_the_middle_breaks_one_sub_operation_not_the_rest(port):
    """A data set has no other end than its own: the association breaks, and the others go over a new one."""
    data, uid = ct(790, StudyInstanceUID=STUDY + ".1", PixelData=bytes(300_000))
    other, other_uid = ct(791, StudyInstanceUID=STUDY + ".1")
    before = set(port.objects())
    with Client(port.plain) as client:
        client.open()
        assert client.store(data, CT, uid)["Status"] == 0
        (path,) = set(port.objects()) - before
        assert client.store(other, CT, other_uid)["Status"] == 0
    raw = bytearray(path.read_bytes())
    raw[-1000] ^= 1
    path.write_bytes(raw)
    with destination(port) as there, asking(port) as asker:
        asker.ask(0x21, identifier("STUDY", study=STUDY + ".1"), MoveDestination="DEST")
        last, failed = list(asker.replies())[-1]
        assert (last["Status"], counts(last)) == (0xB000, (None, 1, 1, 0))
        assert failed_list(failed) == [uid]
        assert there.datasets == [other]
    with asking(port, GET, **TAKES) as asker:
        asker.ask(0x10, identifier("IMAGE", instance=uid))
        kinds = []
        while not kinds or kinds[-1] == 4:
            kinds.append(asker.read()[0])
        assert kinds[-1] == 7  # the association of the asker itself: nothing half is left to be taken for whole


@pytest.mark.faults
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("how", "bound"), [("says nothing", 40), ("accepts and says nothing", 120), ("trickles", 40)])
def test_silent_receivers_cost_bounded_time(port, how, bound):
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(8)

    def serve():
        with contextlib.suppress(OSError):
            sock, _ = listening.accept()
            with sock:
                request = sock.recv(65536)
                if how == "accepts and says nothing":
                    answer = struct.pack(">HH", 1, 0) + request[10:74]
                    for number in range(1, 7, 2):
                        inner = bytes((number, 0, 0, 0)) + struct.pack(">BxH", 0x40, len(EXPLICIT)) + EXPLICIT.encode()
                        answer += struct.pack(">BxH", 0x21, len(inner)) + inner
                    sock.sendall(struct.pack(">BxI", 2, len(answer)) + answer)
                sock.settimeout(1)
                end = time.monotonic() + bound
                while time.monotonic() < end:
                    if how == "trickles":
                        sock.sendall(b"\x02")
                    with contextlib.suppress(TimeoutError):
                        if not sock.recv(65536):
                            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    admin = port.house.administration
    admin.devices_add(port.me, "SILENT", host="127.0.0.1", port=listening.getsockname()[1], role="workstation")
    try:
        began = time.monotonic()
        with asking(port) as asker:
            asker.sock.settimeout(bound)
            asker.ask(0x21, identifier("IMAGE", instance=next(iter(port.stored))), MoveDestination="SILENT")
            last, _ = list(asker.replies())[-1]
            assert (last["Status"], counts(last)) == (0xA702, (None, 0, 1, 0))
        assert time.monotonic() - began < bound
    finally:
        admin.devices_revoke(port.me, "SILENT")
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        thread.join(bound)
        listening.close()
