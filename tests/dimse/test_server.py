"""The DICOM port as a peer meets it: real house, real sockets."""

import ssl
import struct
import time

import pytest
import sqlalchemy as sa
from dimse_world import CT, EXPLICIT, VERIFICATION, Client, associate, ct, eventually, pdata, unit, world

from leadglass.storage import tables as t

MR = "1.2.840.10008.5.1.4.1.1.4"
RESERVED = bytes(4)


def tls_client(issued, directory):
    for name, pem in (("key", issued.private_key_pem), ("certificate", issued.certificate_pem)):
        (directory / name).write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the server's checks are under test
    context.load_cert_chain(directory / "certificate", directory / "key")
    return context


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with world(tmp_path_factory.mktemp("dimse"), association_idle_seconds=3, max_associations=64) as running:
        yield running


@pytest.fixture
def goes_on(port):
    """Whatever a test did: the next peer is served."""
    yield
    with Client(port.plain) as client:
        assert client.open()[0] == 2
        assert client.echo() == 0
        assert client.release() == 6


def test_echo_and_release(port):
    with Client(port.plain) as client:
        assert client.open()[0] == 2
        assert client.echo() == 0
        assert client.release() == 6


def test_store_duplicate_and_conflict(port):
    data, uid = ct(1)
    other, _ = ct(1, PatientComments="another")
    before = port.instances
    with Client(port.plain) as client:
        client.open()
        assert client.store(data, CT, uid)["Status"] == 0x0000
        assert client.store(data, CT, uid, piece=100)["Status"] == 0x0000
        answer = client.store(other, CT, uid)
        assert answer["Status"] == 0xB000  # kept, and a person is to look at it
        assert answer["ErrorComment"] == "held for reconciliation"
        assert uid not in answer["ErrorComment"]
        assert len(answer["ErrorComment"]) <= 64
        assert client.release() == 6
    assert port.instances == before + 1


@pytest.mark.parametrize("how", [
    {"calling": "STRANGER"}, {"calling": "STRANGER2", "called": "OTHER"}, {"calling": "CT1", "called": "ct1"}])
def test_strangers_are_rejected_and_recorded(port, how):
    with Client(port.plain) as client:
        assert client.open(**how) == (3, bytes((0, 1, 1, 3)))
    last = port.rows(t.ledger.select().order_by(t.ledger.c.index).subquery())[-1]
    assert (last.outcome, last.subject, last.subject_name) == ("refused", "device:unknown", how["calling"])


@pytest.mark.usefixtures("goes_on")
def test_wrong_instance(port):
    data, _ = ct(2)
    before, objects = port.instances, len(port.objects())
    with Client(port.plain) as client:
        client.open()
        assert client.store(data, CT, "1.2.3")["Status"] == 0xA900
        assert client.echo() == 0
    assert (port.instances, len(port.objects())) == (before, objects)


@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("data", [
    ct(3)[0][:-1000], ct(3)[0][:300], b"", b"\x00", b"\xff" * 70000,
    struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    + 20000 * struct.pack("<HHIHH2sHI", 0xFFFE, 0xE000, 0xFFFFFFFF, 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF),
], ids=["cut in pixels", "cut in head", "empty", "one byte", "noise", "20000 deep"])
def test_broken_data_sets_are_answered(port, data):
    before, objects = port.instances, len(port.objects())
    with Client(port.plain) as client:
        client.open()
        assert client.store(data, CT, ct(3)[1])["Status"] == 0xC000
        assert client.echo() == 0
    assert (port.instances, len(port.objects())) == (before, objects)


@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("raw", [
    unit(4, b"")[:2] + struct.pack(">I", 0xFFFFFFFF), b"\x09" + bytes(5), associate(), unit(4, bytes(3)),
    pdata(77, b"", is_command=True), pdata(3, b"data first", is_command=False), pdata(1, b"\x01", is_command=True),
    pdata(1, bytes(60000), is_command=True, is_last=False) * 2,
], ids=["4 GiB", "type 9", "second request", "cut", "context 77", "no command", "half an element", "long command"])
def test_faults_of_protocol_are_aborted(port, raw):
    with Client(port.plain) as client:
        client.open()
        client.sock.sendall(raw)
        kind, body = client.read()
        assert (kind, body[2]) == (7, 2)
        assert client.is_closed_within(3)


@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("raw", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", struct.pack(">BxI", 1, 0x7FFFFFFF), unit(4, bytes(100)), unit(1, bytes(68))])
def test_no_association_for_something_else(port, raw):
    with Client(port.plain) as client:
        client.sock.sendall(raw)
        assert client.is_closed_within(3)


@pytest.mark.usefixtures("goes_on")
def test_unknown_operations_get_an_answer(port):
    with Client(port.plain) as client:
        client.open()
        answer = client.store(b"\x00" * 100, CT, "1.2.3", field=0x0140)  # N-CREATE
        assert (answer["Status"], answer["CommandField"]) == (0x0211, 0x8140)
        assert client.echo() == 0


@pytest.mark.usefixtures("goes_on")
def test_abort_in_the_middle_leaves_nothing(port):
    data, uid = ct(4)
    before, objects = port.instances, len(port.objects())
    with Client(port.plain) as client:
        client.open()
        client.begin_store(CT, uid)
        client.sock.sendall(pdata(3, data[:20000], is_command=False, is_last=False))
        assert eventually(lambda: len(port.objects()) > objects)
        client.sock.sendall(unit(7, RESERVED))
    assert eventually(lambda: len(port.objects()) == objects)
    assert port.instances == before


@pytest.mark.usefixtures("goes_on")
def test_silent_and_slow_senders_are_cut_off(port):
    with Client(port.plain) as idle, Client(port.plain) as slow:
        idle.open()
        slow.open()
        head = struct.pack(">BxI", 4, 5000)
        is_cut = False
        for byte in head + bytes(40):
            try:
                slow.sock.sendall(bytes((byte,)))
            except OSError:
                is_cut = True
                break
            time.sleep(0.2)
        assert is_cut
        assert idle.is_closed_within(3)


def test_revoked_device_is_cut_off(port):
    port.house.administration.devices_add(port.me, "GONE", host="127.0.0.1")
    _, uid = ct(5)
    before = port.instances
    with Client(port.plain) as client:
        client.open(calling="GONE")
        assert client.echo() == 0
        port.house.administration.devices_revoke(port.me, "GONE")
        client.begin_store(CT, uid)
        assert client.read()[0] == 7
    assert port.instances == before
    with Client(port.plain) as client:
        assert client.open(calling="GONE") == (3, bytes((0, 1, 1, 3)))


def test_tls_wants_the_device_certificate(port, tmp_path):
    port.house.administration.devices_add(port.me, "CTTLS", host="127.0.0.1")
    issued = port.house.administration.devices_issue(port.me, "CTTLS")
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    with pytest.raises((OSError, EOFError)), Client(port.tls, tls=bare) as client:
        client.open(calling="CTTLS")
    data, uid = ct(6)
    with Client(port.tls, tls=tls_client(issued, tmp_path)) as client:
        assert client.open(calling="CTTLS")[0] == 2
        assert client.store(data, CT, uid)["Status"] == 0
        assert client.release() == 6
    with Client(port.plain) as client:  # the title is bound to the certificate: in clear it is a stranger
        assert client.open(calling="CTTLS") == (3, bytes((0, 1, 1, 3)))


def test_the_65th_is_told_to_come_later(port):
    assert eventually(lambda: not port.server._running)
    clients = [Client(port.plain) for _ in range(64)]
    try:
        assert all(client.open()[0] == 2 for client in clients)
        with Client(port.plain) as late:
            assert late.open() == (3, bytes((0, 2, 3, 2)))
        assert all(client.echo() == 0 for client in clients)
    finally:
        for client in clients:
            client.sock.close()
    assert eventually(lambda: not port.server._running)


def test_stop_lets_the_message_in_hand_end(tmp_path):
    data, uid = ct(7)
    with world(tmp_path) as running, Client(running.plain) as busy, Client(running.plain) as idle:
        busy.open()
        idle.open()
        busy.begin_store(CT, uid)
        busy.sock.sendall(pdata(3, data[:20000], is_command=False, is_last=False))
        time.sleep(0.3)
        running.server.stop()
        running.server.stop()
        assert idle.read()[0] == 7
        busy.sock.sendall(pdata(3, data[20000:], is_command=False))
        assert busy.answer()["Status"] == 0
        assert busy.read()[0] == 7
        running.thread.join(5)
        assert not running.thread.is_alive()
        assert running.instances == 1


def test_no_way_in_through_the_context_of_echo(port):
    data, uid = ct(8, SOPClassUID=VERIFICATION)
    before = port.instances
    with Client(port.plain) as client:
        client.open(((1, VERIFICATION, (EXPLICIT,)), (3, CT, (EXPLICIT,))))
        assert client.store(data, VERIFICATION, uid, context=1)["Status"] == 0x0122
        assert client.store(data, MR, uid, context=3)["Status"] == 0x0122
        assert client.echo() == 0
    assert port.instances == before


@pytest.mark.usefixtures("goes_on")
def test_revoked_in_the_middle_of_an_instance(port):
    port.house.administration.devices_add(port.me, "MIDDLE", host="127.0.0.1")
    data, uid = ct(9)
    before, objects = port.instances, len(port.objects())
    with Client(port.plain) as client:
        client.open(calling="MIDDLE")
        client.begin_store(CT, uid)
        client.sock.sendall(pdata(3, data[:20000], is_command=False, is_last=False))
        assert eventually(lambda: len(port.objects()) > objects)
        port.house.administration.devices_revoke(port.me, "MIDDLE")
        client.sock.sendall(pdata(3, data[20000:21000], is_command=False, is_last=False))
        assert client.read()[0] == 7
    assert eventually(lambda: len(port.objects()) == objects)
    assert port.instances == before


def test_a_foreign_error_shows_nothing_of_a_patient(port, monkeypatch, capfd):
    def broken(*_):
        with port.house.database.write() as connection:
            connection.execute(sa.text("insert into nowhere values (:a)"), {"a": "SECRET^NAME"})

    monkeypatch.setattr(port.house.operations, "commit", broken)
    data, uid = ct(10)
    with Client(port.plain) as client:
        client.open()
        answer = client.store(data, CT, uid)
        assert (answer["Status"], answer["ErrorComment"]) == (0x0110, "processing failure")
        assert client.release() == 6
    out, err = capfd.readouterr()
    assert "dimse_incident" in out + err
    assert "SECRET" not in out + err


def test_silent_strangers_take_no_place(tmp_path):
    with world(tmp_path, max_associations=2) as running:
        silent = [Client(running.plain) for _ in range(6)]
        with Client(running.plain) as client:
            assert client.open()[0] == 2
            assert client.echo() == 0
        for other in silent:
            other.sock.close()


def test_stop_speaks_tls_to_tls_peers_and_cuts_who_never_ends(tmp_path):
    with world(tmp_path) as running:
        admin = running.house.administration
        admin.devices_add(running.me, "CTTLS", host="127.0.0.1")
        issued = admin.devices_issue(running.me, "CTTLS")
        with Client(running.tls, tls=tls_client(issued, tmp_path)) as idle, Client(running.plain) as endless:
            idle.open(calling="CTTLS")
            endless.open()
            endless.begin_store(CT, "1.2.3")
            time.sleep(0.3)
            running.server.stop()
            assert idle.read() == (7, bytes((0, 0, 2, 0)))
            running.thread.join(12)
            assert not running.thread.is_alive()
            assert not running.server._running
            assert endless.is_closed_within(1)
