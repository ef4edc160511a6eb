"""C-MOVE and C-GET as a workstation meets them: real house, real sockets, pynetdicom as the one that receives."""

import time

import pytest
from dimse_world import CT, Client, ct, pdata
from retrieve_world import (
    GET,
    MOVE,
    PATIENT_MOVE,
    STUDY,
    TAKES,
    asking,
    counts,
    destination,
    fetch,
    identifier,
    ledger,
    retrieve_world,
)

from leadglass.dicom.command import encode_command
from leadglass.storage import tables as t


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with retrieve_world(tmp_path_factory.mktemp("retrieve")) as running:
        yield running


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
