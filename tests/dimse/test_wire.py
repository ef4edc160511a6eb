"""Units from a socket: however they are cut, peek and read see the same, and nobody waits who must not."""

import socket
import struct
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.dimse import pdu
from leadglass.dimse.line import Line
from leadglass.dimse.wire import PeerGone, Severed, Wire
from leadglass.errors import Damaged, Malformed


def pair(limit=1000):
    ours, theirs = socket.socketpair()
    return Wire(ours, max_pdu=limit, is_ended=lambda: False), ours, theirs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=900), min_size=1, max_size=6), st.lists(st.integers(1, 700), max_size=8))
def test_peek_sees_what_read_gives(bodies, cuts):
    wire, ours, theirs = pair()
    with ours, theirs:
        raw = b"".join(struct.pack(">BxI", 4, len(b)) + b for b in bodies)
        pieces, at = [], 0
        for cut in cuts:
            pieces.append(raw[at : at + cut])
            at += cut
        found = []
        for piece in [*filter(None, pieces), raw[at:]]:
            if piece:
                theirs.sendall(piece)
            while True:
                seen = wire.peek()
                if seen is None:
                    break
                seen = (seen[0], bytes(seen[1]))
                kind, body = wire.read(wait=0.0, whole=0.0)
                assert (kind, bytes(body)) == seen
                found.append(seen[1])
        assert found == bodies


def test_peek_never_waits_and_sees_the_end():
    wire, ours, theirs = pair()
    with ours:
        with theirs:
            began = time.monotonic()
            assert wire.peek() is None
            assert wire.has_input() is False
            assert wire.wait_input(0.1) is False
            theirs.sendall(struct.pack(">BxI", 4, 5000))
            with pytest.raises(Malformed):
                wire.peek()
            assert time.monotonic() - began < 1
        with pytest.raises(PeerGone):
            while True:
                wire.peek()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=8), st.integers(0, 300))
def test_pieces_are_one_data_set_in_units_that_the_peer_takes(pieces, length):
    out = b"".join(pdu.encode_pieces(7, pieces, max_length=length))
    found, at, lasts = b"", 0, []
    while at < len(out):
        kind, size = struct.unpack_from(">BxI", out, at)
        assert kind == 4
        if length >= 22:
            assert size <= length
        for value in pdu.decode_data(memoryview(out)[at + 6 : at + 6 + size]):
            assert (value.context_id, value.is_command) == (7, False)
            found += value.data
            lasts.append(value.is_last)
        at += 6 + size
    assert found == b"".join(pieces)
    assert lasts == [False] * (len(lasts) - 1) + [True]


def test_a_data_set_that_cannot_be_read_to_its_end_severs_the_line():
    wire, ours, theirs = pair()

    def pieces():
        yield bytes(100_000)
        raise Damaged("an object does not decrypt")

    def drain():
        while theirs.recv(65536):
            pass

    with ours, theirs:
        thread = threading.Thread(target=drain)
        thread.start()
        with pytest.raises(Severed):
            Line(wire, max_length=16384).store(1, {"MessageID": 1}, pieces(), 100_000)
        ours.close()
        thread.join(5)
        assert not thread.is_alive()


def test_a_peer_that_takes_nothing_is_left_in_time():
    wire, ours, theirs = pair()
    with ours, theirs:
        wire.write(bytes(1000), within=1.0)
        began = time.monotonic()
        with pytest.raises(PeerGone):
            wire.write(bytes(50_000_000), within=0.5)
        assert time.monotonic() - began < 5
