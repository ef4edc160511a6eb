"""Who receives what we send: hostile and silent ones, over TLS to a pinned certificate, C-ECHO as we ask it."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from contextlib import contextmanager

import pytest
from dimse_world import CT, EXPLICIT, Client, ct, eventually, world
from pynetdicom import AE, evt
from retrieve_world import STUDY, asking, counts, destination, identifier, ledger, retrieve_world

from leadglass.storage import tables as t


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with retrieve_world(tmp_path_factory.mktemp("retrieve")) as running:
        yield running


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
