"""What we agree to beyond contexts: roles, the asynchronous window, extended negotiation; and what a window is good for."""

import struct
import time

import pytest
from dimse_world import CT, EXPLICIT, IMPLICIT, VERIFICATION, Client, associate, ct, item, pdata, world

from leadglass.dicom.command import decode_command, encode_command
from leadglass.dimse.associate import AssociateRequest, Proposal, decode_accept, decode_associate, encode_accept, encode_request
from leadglass.dimse.negotiation import negotiate
from leadglass.errors import Malformed

GET, MOVE = "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.2.2"
HEADER = 6


def agreed(contexts=((1, CT, (EXPLICIT,)),), **how):
    return negotiate(decode_associate(associate(contexts, **how)[HEADER:]))[0]


def extended(uid, raw):
    return item(0x56, struct.pack(">H", len(uid)) + uid.encode() + raw)


@pytest.mark.parametrize(("asked", "with_get", "answer"), [
    (None, False, None), ((1, 1), False, (1, 1)), ((0, 0), False, (16, 16)), ((8, 4), False, (8, 4)), ((500, 500), False, (16, 16)),
    ((0, 0), True, (1, 16)),  # who fetches asks one thing at a time; what is pushed may run ahead
])
def test_window(asked, with_get, answer):
    contexts = ((1, CT, (EXPLICIT,)), (3, GET, (IMPLICIT,))) if with_get else ((1, CT, (EXPLICIT,)),)
    assert agreed(contexts, window=asked).window == answer


def test_roles_are_answered_one_by_one():
    contexts = ((1, CT, (EXPLICIT,)), (3, GET, (IMPLICIT,)), (5, VERIFICATION, (IMPLICIT,)))
    roles = ((CT, 1, 1), (VERIFICATION, 1, 1), ("1.2.3.4", 1, 1))
    assert agreed(contexts, roles=roles).roles == {CT: (True, True), VERIFICATION: (True, False)}
    assert agreed(((1, CT, (EXPLICIT,)),), roles=roles).roles == {CT: (True, False)}  # without C-GET nobody is an SCP


@pytest.mark.parametrize(("uid", "asked", "answer"), [
    (MOVE, b"\x00", b"\x00"), (MOVE, b"\x01", b"\x01"), (MOVE, b"\x01\x01\x01", b"\x01\x00\x00"), (MOVE, b"\xff", b"\x01"), (MOVE, b"", b""),
    (CT, b"\x03\x00\x00\x00\x02\x00", b"\x02\x00\x03\x00\x00\x00"), (CT, b"\x00", b"\x02"),
])
def test_extended_negotiation_is_answered_byte_by_byte(uid, asked, answer):
    assert agreed(((1, uid, (EXPLICIT,)),), more=extended(uid, asked)).extended == {uid: answer}


def test_what_is_not_accepted_gets_no_extended_answer():
    assert agreed(((1, CT, (EXPLICIT,)),), more=extended(MOVE, b"\x01") + extended("1.2", b"\x01")).extended == {}


def test_common_extended_negotiation_is_passed_over():
    body = struct.pack(">H", len(CT)) + CT.encode() + struct.pack(">H", 2) + b"14" + bytes(2)
    assert agreed(more=item(0x57, body)).results == {1: (0, EXPLICIT)}


@pytest.mark.parametrize("more", [
    item(0x54, b"\x00"), item(0x54, b"\x00\xff1.2"), item(0x54, b"\x00\x031.2\x01"), item(0x56, b"\xff\xff"), item(0x56, b"\x00"),
    item(0x54, b"\x00\x031.2\x01\x01") * 1100,
], ids=["cut", "long UID", "one byte", "long", "short", "too many"])
def test_broken_sub_items_are_malformed(more):
    with pytest.raises(Malformed):
        decode_associate(associate(more=more)[HEADER:])


def test_both_ends_understand_each_other():
    request = AssociateRequest(
        called_ae="THEM", calling_ae="US", proposals=(
            Proposal(id=1, abstract_syntax=CT, transfer_syntaxes=(EXPLICIT, IMPLICIT)),
            Proposal(id=3, abstract_syntax="1.2.3", transfer_syntaxes=(IMPLICIT,))),
        max_length=16384, window=(16, 1), roles={CT: (False, True)})
    read = decode_associate(encode_request(request)[HEADER:])
    assert (read.called_ae, read.calling_ae, read.window, read.roles) == ("THEM", "US", (16, 1), {CT: (False, True)})
    agreement, _ = negotiate(read)
    answer = decode_accept(encode_accept(read, agreement, 65536)[HEADER:])
    assert answer.results == {1: (0, EXPLICIT), 3: (3, "")}
    assert (answer.max_length, answer.window) == (65536, (16, 1))


# --- the window at work -----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with world(tmp_path_factory.mktemp("window")) as running:
        yield running


def store(data, uid, message):
    return pdata(3, encode_command({
        "AffectedSOPClassUID": CT, "CommandField": 1, "MessageID": message, "Priority": 0, "CommandDataSetType": 1,
        "AffectedSOPInstanceUID": uid}), is_command=True) + pdata(3, data, is_command=False)


def answers(client, number):
    found = []
    while len(found) < number:
        kind, body = client.read()
        assert kind == 4
        at = 0
        while at < len(body):
            length = struct.unpack_from(">I", body, at)[0]
            command = decode_command(body[at + 6 : at + 4 + length])
            found.append((command["MessageIDBeingRespondedTo"], command["Status"]))
            at += 4 + length
    return found


@pytest.fixture
def commits(port, monkeypatch):
    """How many instances each commit had."""
    seen = []
    real = port.house.operations.commit

    def counted(grant, staged):
        seen.append(len(staged))
        return real(grant, staged)

    monkeypatch.setattr(port.house.operations, "commit", counted)
    return seen


def test_a_window_pays_for_one_commit_and_is_answered_in_order(port, commits):
    made = [ct(1000 + n) for n in range(16)]
    with Client(port.plain) as client:
        client.open(window=(16, 1))
        client.sock.sendall(b"".join(store(data, uid, n + 1) for n, (data, uid) in enumerate(made)))
        assert answers(client, 16) == [(n + 1, 0) for n in range(16)]
        assert sum(commits) == 16
        assert len(commits) < 8, commits  # how many depends on how fast they come
        assert client.echo() == 0
        assert client.release() == 6


def test_without_a_window_each_is_answered_before_the_next(port, commits):
    made = [ct(1100 + n) for n in range(3)]
    with Client(port.plain) as client:
        client.open()
        for n, (data, uid) in enumerate(made):
            client.sock.sendall(store(data, uid, n + 1))
            assert answers(client, 1) == [(n + 1, 0)]
    assert commits == [1, 1, 1]


def test_one_waits_for_nobody(port, commits):
    data, uid = ct(1200)
    with Client(port.plain) as client:
        client.open(window=(16, 1))
        began = time.monotonic()
        client.sock.sendall(store(data, uid, 1))
        assert answers(client, 1) == [(1, 0)]
        assert time.monotonic() - began < 2


def test_a_bad_one_in_the_middle_spoils_no_other_and_keeps_its_place(port, commits):
    (first, uid1), (second, uid2) = ct(1300), ct(1301)
    with Client(port.plain) as client:
        client.open(window=(16, 1))
        client.sock.sendall(store(first, uid1, 1) + store(first, "1.2.3", 2) + store(b"\xff" * 5000, "1.2.4", 3) + store(second, uid2, 4)
                            + pdata(1, encode_command({"AffectedSOPClassUID": VERIFICATION, "CommandField": 0x30, "MessageID": 5,
                                                       "CommandDataSetType": 0x0101}), is_command=True))
        assert answers(client, 5) == [(1, 0), (2, 0xA900), (3, 0xC000), (4, 0), (5, 0)]


def test_when_the_commit_fails_each_is_told(port, monkeypatch):
    from leadglass.errors import Busy

    def busy(*_):
        raise Busy("not now")

    monkeypatch.setattr(port.house.operations, "commit", busy)
    made = [ct(1400 + n) for n in range(4)]
    with Client(port.plain) as client:
        client.open(window=(4, 1))
        client.sock.sendall(b"".join(store(data, uid, n + 1) for n, (data, uid) in enumerate(made)))
        assert answers(client, 4) == [(n + 1, 0xA700) for n in range(4)]
        assert client.echo() == 0


def test_what_was_not_acknowledged_is_not_visible(port):
    before = port.instances
    data, uid = ct(1500)
    with Client(port.plain) as client:
        client.open(window=(16, 1))
        client.sock.sendall(store(data, uid, 1)[:-1])
    time.sleep(0.5)
    assert port.instances == before
