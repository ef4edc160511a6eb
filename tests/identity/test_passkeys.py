"""A browser's answer is foreign input: any fault in it is a refusal in the house's words."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadglass.errors import Malformed, Unproven
from leadglass.identity.passkeys import RelyingParty, credential_id_of

CHALLENGE = b"c" * 32
ORIGIN = "https://pacs.example"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def client_data(kind: str, **changes: object) -> bytes:
    return json.dumps({"type": kind, "challenge": b64(CHALLENGE), "origin": ORIGIN, "crossOrigin": False} | changes).encode()


def registration(attestation: bytes, data: bytes | None = None) -> dict:
    return {"id": b64(b"id"), "rawId": b64(b"id"), "type": "public-key", "response": {
        "clientDataJSON": b64(client_data("webauthn.create") if data is None else data), "attestationObject": b64(attestation)}}


def use(authenticator: bytes, signature: bytes, data: bytes | None = None) -> dict:
    return {"id": b64(b"id"), "rawId": b64(b"id"), "type": "public-key", "response": {
        "clientDataJSON": b64(client_data("webauthn.get") if data is None else data),
        "authenticatorData": b64(authenticator), "signature": b64(signature)}}


KEYS = RelyingParty(rp_id="pacs.example", origin=ORIGIN)
MAP = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData"
P256 = bytes.fromhex("a5010203262001215820") + b"\x01" * 32 + bytes.fromhex("225820") + b"\x02" * 32


@pytest.mark.parametrize("attestation", [
    b"", b"\xff", b"\x80", b"\xa0", b"\x81" * 3000, b"\xbf" * 3000, b"\xd8\x40" * 2000, MAP, MAP + b"\x40", MAP + b"\x58\x25" + bytes(37),
    MAP + b"\x58\x25" + bytes(32) + b"\xff" + bytes(4), b"\x9b" + b"\xff" * 8, b"\x5b\x7f" + b"\xff" * 7, b"\xf9\x7e\x00", b"\x61a", b"\x18\x2a",
    MAP + b"\xf6", MAP + b"\x18\x01", b"\xa3\x63fmt\x01\x67attStmt\x01\x68authData\x01",
])
def test_attestations_that_are_none(attestation):
    with pytest.raises(Malformed):
        KEYS.verify_registration(registration(attestation), CHALLENGE)


@pytest.mark.parametrize("data", [
    b"", b"{}", b"[]", b"7", b"null", b"[" * 5000, b"\xff\xfe", client_data("webauthn.get"), client_data("webauthn.create", challenge="AAAA"),
    client_data("webauthn.create", origin="https://evil.example"), client_data("webauthn.create", challenge=7),
    client_data("webauthn.create", origin=None), client_data("webauthn.create", tokenBinding=7), client_data("webauthn.create", challenge="\u00e9"),
])
def test_client_data_that_is_not_of_this_registration(data):
    with pytest.raises(Malformed):
        KEYS.verify_registration(registration(MAP + b"\x58\x25" + bytes(37), data), CHALLENGE)


SHAPES = [
    {}, {"id": 1}, {"id": "a", "rawId": "a"}, {"id": "\u00e9", "rawId": "\u00e9", "type": "public-key", "response": {}},
    {"id": [], "rawId": {}, "type": 0, "response": 0}, {"id": "aQ", "rawId": "aQ", "type": "public-key", "response": None},
    {"id": "aQ", "rawId": "aQ", "type": "public-key", "response": {"clientDataJSON": 1, "attestationObject": 2, "authenticatorData": 3, "signature": 4}},
    {"id": "a", "rawId": "a", "type": "public-key", "response": {"clientDataJSON": "a", "attestationObject": "a", "authenticatorData": "a", "signature": "a"}},
]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_answers_of_another_shape(shape):
    with pytest.raises(Malformed):
        KEYS.verify_registration(shape, CHALLENGE)
    with pytest.raises(Unproven):
        KEYS.verify_use(shape, CHALLENGE, public_key=P256, counter=0)


@pytest.mark.parametrize("raw", ["a", "\u00e9", "====", "\ud800", None, 7, [], {}, "a b"])
def test_credential_ids_are_bytes_or_refused(raw):
    try:
        assert isinstance(credential_id_of({"rawId": raw}), bytes)
    except Unproven as e:
        assert str(e)


def test_an_answer_that_is_too_large_is_refused():
    for call in (lambda r: KEYS.verify_registration(r, CHALLENGE), lambda r: KEYS.verify_use(r, CHALLENGE, public_key=P256, counter=0)):
        with pytest.raises(Malformed):
            call(registration(bytes(200_000)))


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=200), signature=st.binary(max_size=80), key=st.one_of(st.just(P256), st.binary(max_size=90)))
def test_noise_is_refused(noise, signature, key):
    with pytest.raises(Malformed):
        KEYS.verify_registration(registration(MAP + b"\x58" + bytes([len(noise)]) + noise), CHALLENGE)
    with pytest.raises(Unproven):
        KEYS.verify_use(use(noise, signature), CHALLENGE, public_key=key, counter=0)
