"""User identity negotiation under attack: a signed assertion over TLS proves a client, and nothing else proves anybody."""

import base64
import json
import ssl
import struct
import time

import pytest
from dimse_world import CT, EXPLICIT, IMPLICIT, VERIFICATION, Client, ct, item, pdata, world
from joserfc import jwk, jwt

from leadglass.dicom.command import encode_command
from leadglass.storage import tables as t

GET = "1.2.840.10008.5.1.4.1.2.2.3"
STUDY = "1.2.826.0.1.3680043.10.999.78"
CONTEXTS = ((1, VERIFICATION, (IMPLICIT,)), (3, CT, (EXPLICIT,)), (5, GET, (IMPLICIT,)))
ROLES = ((CT, 0, 1),)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    directory = tmp_path_factory.mktemp("identity")
    with world(directory) as running:
        admin = running.house.administration
        running.contexts = {}
        for title, role in (("WSTLS", "workstation"), ("CTTLS", "modality")):
            admin.devices_add(running.me, title, host="127.0.0.1", role=role)
            issued = admin.devices_issue(running.me, title)
            for name, pem in (("key", issued.private_key_pem), ("crt", issued.certificate_pem)):
                (directory / f"{title}.{name}").write_bytes(pem)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.load_cert_chain(directory / f"{title}.crt", directory / f"{title}.key")
            running.contexts[title] = context
        admin.devices_add(running.me, "WSCLEAR", host="127.0.0.1", role="workstation")
        running.clients = {}
        for name, role in (("reader", "radiologist"), ("officer", "privacy-officer"), ("gone", "radiologist")):
            made = admin.clients_add(running.me, name, role)
            running.clients[name] = (made.client_id, jwk.import_key(made.private_key_pem, "EC"))
        data, uid = ct(900, StudyInstanceUID=STUDY)
        with Client(running.plain) as client:
            client.open()
            assert client.store(data, CT, uid)["Status"] == 0
        yield running


def identity(kind, primary=b"", secondary=b"", *, wants_answer=0):
    return item(0x58, bytes((kind, wants_answer)) + struct.pack(">H", len(primary)) + primary
                + struct.pack(">H", len(secondary)) + secondary)


counter = iter(range(10_000, 99_999))


def assertion(port, name="reader", *, key=None, alg="ES256", **changes):
    client_id, own = port.clients[name]
    now = int(time.time())
    claims = {"iss": client_id, "sub": client_id, "aud": "dicom:LEADGLASS", "iat": now, "exp": now + 120,
              "jti": f"jti-{next(counter)}"} | changes
    return jwt.encode({"alg": alg}, {k: v for k, v in claims.items() if v is not None}, key or own).encode()


def connect(port, title="WSTLS", *, is_clear=False):
    return Client(port.plain) if is_clear else Client(port.tls, tls=port.contexts[title])


def get_status(client):
    """Ask for the study; return the last status, answering whatever comes."""
    tag = struct.pack("<HHI", 0x0008, 0x0052, 6) + b"STUDY " + struct.pack("<HHI", 0x0020, 0x000D, len(STUDY) + len(STUDY) % 2)
    data = tag + STUDY.encode() + b"\x00" * (len(STUDY) % 2)
    client.sock.sendall(pdata(5, encode_command({
        "AffectedSOPClassUID": GET, "CommandField": 0x10, "MessageID": 3, "CommandDataSetType": 1}), is_command=True)
        + pdata(5, data, is_command=False))
    while True:
        kind, body = client.read()
        if kind != 4:
            return kind
        if not body[5] & 1 or body[6:].find(b"\x00\x00\x00\x01\x02\x00\x00\x00") < 0:
            continue
        from leadglass.dicom.command import decode_command
        length = struct.unpack_from(">I", body)[0]
        command = decode_command(body[6 : 4 + length])
        if command["CommandField"] == 1:
            client.sock.sendall(pdata(3, encode_command({
                "CommandField": 0x8001, "MessageIDBeingRespondedTo": command["MessageID"], "CommandDataSetType": 0x0101,
                "Status": 0}), is_command=True))
        elif command["Status"] != 0xFF00:
            return command["Status"]


def authentications(port):
    rows = port.rows(t.ledger.select().where(t.ledger.c.event == "authentication").order_by(t.ledger.c.index).subquery())
    return [json.loads(r.record) for r in rows]


def test_an_assertion_over_tls_makes_the_device_act_for_the_client(port):
    with connect(port) as client:
        kind, body = client.open(CONTEXTS, calling="WSTLS", roles=ROLES, more=identity(5, assertion(port), wants_answer=1))
        assert kind == 2
        assert item(0x59, b"\x00\x00") in body
        assert client.echo() == 0
        assert get_status(client) == 0
        assert client.release() == 6
    last = authentications(port)[-1]
    assert (last["outcome"], last["subject"]["name"], last["acting_for"]["name"]) == ("done", "WSTLS", "reader")
    reads = [json.loads(r.record) for r in port.rows(t.ledger.select().where(t.ledger.c.action == "archive:study:read").subquery())]
    assert reads[-1]["acting_for"]["id"] == f"client:{port.clients['reader'][0]}"


def test_no_answer_where_none_was_asked_for(port):
    with connect(port) as client:
        kind, body = client.open(CONTEXTS, calling="WSTLS", more=identity(5, assertion(port)))
        assert (kind, item(0x59, b"\x00\x00") in body) == (2, False)


def test_rights_are_those_that_device_and_client_share(port):
    for title, name, status in (("WSTLS", "reader", 0), ("WSTLS", "officer", 0x0124), ("CTTLS", "reader", 0x0124)):
        with connect(port, title) as client:
            assert client.open(CONTEXTS, calling=title, roles=ROLES, more=identity(5, assertion(port, name)))[0] == 2
            assert get_status(client) == status, (title, name)
    data, uid = ct(901)
    with connect(port, "CTTLS") as client:  # the modality may store, the radiologist may not
        client.open(CONTEXTS, calling="CTTLS", more=identity(5, assertion(port)))
        assert client.store(data, CT, uid)["Status"] == 0x0124


def test_an_assertion_opens_once(port):
    raw = assertion(port)
    with connect(port) as client:
        assert client.open(CONTEXTS, calling="WSTLS", more=identity(5, raw))[0] == 2
    for _ in range(2):
        with connect(port) as client:
            assert client.open(CONTEXTS, calling="WSTLS", more=identity(5, raw)) == (3, bytes((0, 1, 1, 1)))


def test_in_clear_it_is_refused_recorded_and_not_spent(port):
    raw = assertion(port)
    before = len(authentications(port))
    with connect(port, is_clear=True) as client:
        assert client.open(CONTEXTS, calling="WSCLEAR", more=identity(5, raw)) == (3, bytes((0, 1, 1, 1)))
    last = authentications(port)[-1]
    assert len(authentications(port)) == before + 1
    assert (last["outcome"], last["details"]["user_identity"], last["subject"]["name"]) == ("refused", 5, "WSCLEAR")
    assert raw.decode() not in json.dumps(last)


NOW = int(time.time())


@pytest.mark.parametrize("changes", [
    {"aud": "https://localhost/oauth/token"}, {"aud": "dicom:OTHER"}, {"aud": None}, {"aud": []}, {"exp": NOW - 100},
    {"exp": NOW + 3600}, {"exp": None}, {"iat": NOW + 3600}, {"jti": None}, {"jti": "short"}, {"sub": "another"}, {"iss": "nobody"},
    {"jti": ["a-list-of-one"]}, {"exp": "soon"},
], ids=str)
def test_claims_that_are_wrong(port, changes):
    with connect(port) as client:
        assert client.open(CONTEXTS, calling="WSTLS", more=identity(5, assertion(port, **changes)))[0] == 3


def forged(port, header, *, signature=b"x"):
    client_id, _ = port.clients["reader"]
    now = int(time.time())

    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"iss": client_id, "sub": client_id, "aud": "dicom:LEADGLASS", "exp": now + 60, "jti": f"forged-{next(counter)}"}
    return b".".join((part(json.dumps(header).encode()), part(json.dumps(claims).encode()), part(signature)))


@pytest.mark.parametrize("how", ["other key", "none", "HS256 with the public key", "garbage", "empty", "not ASCII", "60 kB", "two parts",
                                 "revoked client", "another client's key"])
def test_signatures_that_are_wrong(port, how):
    if how == "revoked client":
        raw = assertion(port, "gone")
        port.house.administration.clients_revoke(port.me, "gone")
    elif how == "another client's key":
        raw = assertion(port, "officer", iss=port.clients["reader"][0], sub=port.clients["reader"][0])
    else:
        public = json.dumps(port.clients["reader"][1].as_dict(private=False))
        raw = {
            "other key": lambda: assertion(port, key=jwk.ECKey.generate_key("P-256")),
            "none": lambda: forged(port, {"alg": "none"}, signature=b""),
            "HS256 with the public key": lambda: jwt.encode({"alg": "HS256"}, {
                "iss": port.clients["reader"][0], "sub": port.clients["reader"][0], "aud": "dicom:LEADGLASS",
                "exp": int(time.time()) + 60, "jti": f"hs-{next(counter)}"}, jwk.import_key(public, "oct")).encode(),
            "garbage": lambda: b"a.b.c", "empty": lambda: b"", "not ASCII": "ü.é.ß".encode,
            "60 kB": lambda: b"a" * 60_000 + b".b.c", "two parts": lambda: assertion(port).rpartition(b".")[0],
        }[how]()
    with connect(port) as client:
        assert client.open(CONTEXTS, calling="WSTLS", more=identity(5, raw)) == (3, bytes((0, 1, 1, 1)))
    with connect(port) as client:
        assert client.open(CONTEXTS, calling="WSTLS")[0] == 2


@pytest.mark.parametrize(("kind", "secret"), [(1, b"administrator"), (2, b"administrator"), (3, b"ticket"), (4, b"<Assertion/>"), (77, b"?")])
@pytest.mark.parametrize("is_clear", [True, False])
def test_names_passcodes_and_tickets_prove_nobody_and_change_nothing(port, kind, secret, is_clear, capfd):
    title = "CT1" if is_clear else "WSTLS"
    with connect(port, is_clear=is_clear) as client:
        opened, body = client.open(CONTEXTS, calling=title, roles=ROLES,
                                   more=identity(kind, b"name-" + secret, b"passcode-" + secret, wants_answer=1))
        assert (opened, b"\x59\x00\x00\x02\x00\x00" in body) == (2, False)
        assert get_status(client) == (0x0124 if is_clear else 0)  # as the device may, no more and no less
        assert client.release() == 6
    last = [r for r in authentications(port) if r["subject"]["name"] == title][-1]
    assert (last["outcome"], last["details"]["user_identity"]) == ("refused", kind)
    rows = port.rows(t.ledger)
    assert not [r for r in rows if b"passcode-" in r.record or b"name-" + secret in r.record]
    out, err = capfd.readouterr()
    assert "passcode-" not in out + err


def test_a_flood_of_names_is_one_record(port):
    before = len(authentications(port))
    for _ in range(6):
        with connect(port, is_clear=True) as client:
            client.open(CONTEXTS, calling="CT1", more=identity(9, b"x"))
            client.release()
    assert len(authentications(port)) == before + 1


@pytest.mark.parametrize("raw", [b"", b"\x05", b"\x05\x01\xff\xff", b"\x05\x01\x00\x02a", b"\x02\x01\x00\x01a\xff\xff"])
def test_a_cut_identity_is_a_fault_of_protocol(port, raw):
    with connect(port) as client:
        assert client.open(CONTEXTS, calling="WSTLS", more=item(0x58, raw))[0] == 7


def test_a_revoked_client_ends_the_association(port):
    made = port.house.administration.clients_add(port.me, "leaving", "radiologist")
    port.clients["leaving"] = (made.client_id, jwk.import_key(made.private_key_pem, "EC"))
    with connect(port) as client:
        assert client.open(CONTEXTS, calling="WSTLS", roles=ROLES, more=identity(5, assertion(port, "leaving")))[0] == 2
        assert get_status(client) == 0
        port.house.administration.clients_revoke(port.me, "leaving")
        assert get_status(client) == 7
