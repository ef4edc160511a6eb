"""Protocol data units: raw bytes of the standard's own layout, and what broken ones lead to."""

import struct

import pytest
from dimse_world import CT, EXPLICIT, IMPLICIT, VERIFICATION, associate, item
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.dimse import associate as associate_unit
from leadglass.dimse import pdu
from leadglass.dimse.negotiation import negotiate
from leadglass.errors import Malformed

HEADER = 6


def test_associate_request_is_read():
    request = associate_unit.decode_associate(associate()[HEADER:])
    assert (request.calling_ae, request.called_ae, request.max_length) == ("CT1", "LEADGLASS", 16384)
    assert [(p.id, p.abstract_syntax) for p in request.proposals] == [(1, VERIFICATION), (3, CT)]


@pytest.mark.parametrize(("made", "raw"), [
    (pdu.encode_reject(1, 1, 3), "03 00 00000004 00 01 01 03"),  # permanent, user, calling AE title
    (pdu.encode_reject(2, 3, 2), "03 00 00000004 00 02 03 02"),  # transient, presentation, local limit
    (pdu.encode_release_reply(), "06 00 00000004 00000000"),
    (pdu.encode_abort(2, 0), "07 00 00000004 0000 02 00"),
    # one value of 2+2 bytes in context 5, command (bit 0) and last (bit 1)
    (pdu.encode_data(5, b"\xab\xcd", is_command=True, max_length=0), "04 00 00000008 00000004 05 03 abcd"),
])
def test_vectors(made, raw):
    assert made == bytes.fromhex(raw)


def test_answers_are_cut_to_what_the_peer_takes():
    made = pdu.encode_data(1, bytes(100), is_command=True, max_length=56)
    controls, at = [], 0
    while at < len(made):
        kind, length = struct.unpack_from(">BxI", made, at)
        assert (kind, length <= 56) == (4, True)
        controls.append(made[at + 11])
        at += 6 + length
    assert controls == [1, 3]


@pytest.mark.parametrize("body", [
    b"", bytes(67), associate(version=2)[HEADER:], associate(())[HEADER:],
    associate(((2, CT, (EXPLICIT,)),))[HEADER:],  # an even identifier
    associate(((1, CT, (EXPLICIT,)), (1, CT, (EXPLICIT,))))[HEADER:],  # the same twice
    associate(((1, CT, ()),))[HEADER:], associate()[HEADER:-1],
    associate(tuple((1 + 2 * (n % 128), CT, (EXPLICIT,)) for n in range(129)))[HEADER:],
    associate()[HEADER:] + item(0x20, b"\x05")[:-1] + b"\xff\xff",
])
def test_broken_requests_are_malformed(body):
    with pytest.raises(Malformed):
        associate_unit.decode_associate(body)


@pytest.mark.parametrize("raw", ["00", "0000000401", "00000001 01 03", "ffffffff 01 03 aa", "00000003 01 03"])
def test_broken_values_are_malformed(raw):
    with pytest.raises(Malformed):
        list(pdu.decode_data(memoryview(bytes.fromhex(raw))))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=6), st.integers(0, 400))
def test_mutated_requests_give_a_value_or_malformed(edits, cut):
    body = bytearray(associate()[HEADER:])
    for at, new in edits:
        body[at : at + len(new)] = new
    try:
        request = associate_unit.decode_associate(bytes(body[: cut + 1] if cut < 350 else body))
    except Malformed:
        return
    agreement, accepted = negotiate(request)
    assert set(accepted) <= set(agreement.results) == {p.id for p in request.proposals}
    associate_unit.encode_accept(request, agreement, 16384)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_give_values_or_malformed(data):
    try:
        for value in pdu.decode_data(memoryview(data)):
            assert len(value.data) <= len(data)
    except Malformed:
        pass


def test_negotiation_takes_the_first_syntax_that_we_know():
    contexts = (
        (1, CT, ("1.2.3.4", EXPLICIT, IMPLICIT)), (3, "1.2.840.10008.5.1.4.31", (IMPLICIT,)), (5, CT, ("1.2.3.4",)))
    agreement, accepted = negotiate(associate_unit.decode_associate(associate(contexts)[HEADER:]))
    assert {k: r[0] for k, r in agreement.results.items()} == {1: 0, 3: 3, 5: 4}
    assert accepted == {1: (CT, EXPLICIT)}
