"""A-ASSOCIATE units, both ways, sans-I/O. Ref: PS3.8 9.3.2, 9.3.3; PS3.7 Annex D.3.

Every length is checked against what is there before anything is allocated; a broken unit is Malformed.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from leadglass.dicom.part10 import IMPLEMENTATION_CLASS_UID
from leadglass.dimse.pdu import ASSOCIATE_AC, ASSOCIATE_RQ, HEADER
from leadglass.errors import Malformed

__all__ = [
    "Accepted", "Agreement", "AssociateRequest", "Proposal", "UserIdentity", "decode_accept", "decode_associate",
    "encode_accept", "encode_request",
]

_ITEM: Final = struct.Struct(">BxH")
_SHORT: Final = struct.Struct(">H")
_MAX_CONTEXTS: Final = 128
_MAX_SYNTAXES: Final = 64
_MAX_SUB_ITEMS: Final = 1024  # role selections and extended negotiations: one for each SOP class there is, and room
_APPLICATION: Final = b"1.2.840.10008.3.1.1.1"
_IMPLEMENTATION_UID: Final = IMPLEMENTATION_CLASS_UID.encode("ascii")
_IMPLEMENTATION_NAME: Final = b"LEADGLASS"
_MAX_LENGTH, _IMPL_UID, _WINDOW, _ROLE, _IMPL_NAME, _EXTENDED = 0x51, 0x52, 0x53, 0x54, 0x55, 0x56
_IDENTITY, _IDENTITY_ANSWER = 0x58, 0x59

Roles = dict[str, tuple[bool, bool]]  # SOP class -> the requestor is (SCU, SCP)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A presentation context as proposed."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class UserIdentity:
    """Who the requestor says that the user is. Ref: PS3.7 D.3.3.7."""

    kind: int  # 1 name, 2 name and passcode, 3 Kerberos, 4 SAML, 5 JWT
    wants_answer: bool
    primary: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ; titles without their padding."""

    called_ae: str
    calling_ae: str
    proposals: tuple[Proposal, ...]
    max_length: int = 0  # 0 = no limit
    window: tuple[int, int] | None = None  # operations it would invoke and perform at a time; 0 = no limit
    roles: Roles = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)  # SOP class -> what it asks of it
    identity: UserIdentity | None = None
    raw_titles: bytes = field(default=bytes(64), repr=False)  # bytes 11-74, which the answer repeats


@dataclass(kw_only=True)
class Agreement:
    """What we answer to a request."""

    results: dict[int, tuple[int, str]]  # context id -> (0 or why not, transfer syntax). Ref: PS3.8 table 9-18
    window: tuple[int, int] | None = None
    roles: Roles = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)
    has_identity_answer: bool = False


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What an A-ASSOCIATE-AC says."""

    results: dict[int, tuple[int, str]]
    max_length: int = 0
    window: tuple[int, int] | None = None
    roles: Roles = field(default_factory=dict)


@dataclass
class _User:
    """The sub-items of a user information item."""

    max_length: int = 0
    window: tuple[int, int] | None = None
    roles: Roles = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)
    identity: UserIdentity | None = None


def decode_associate(body: bytes) -> AssociateRequest:
    """Return the request of an A-ASSOCIATE-RQ body (after its 6-byte header). Ref: PS3.8 9.3.2. Raises: Malformed."""
    _check_head(body)
    proposals: list[Proposal] = []
    user = _User()
    for kind, value in _items(body[68:]):
        if kind == 0x10 and _text(value) != _APPLICATION.decode():
            raise Malformed("an unknown application context.")
        if kind == 0x20:
            if len(proposals) >= _MAX_CONTEXTS:
                raise Malformed("more than 128 presentation contexts.")
            proposals.append(_proposal(value))
        if kind == 0x50:
            user = _user(value)
    if not proposals or len({p.id for p in proposals}) != len(proposals):
        raise Malformed("presentation contexts are missing or stand twice.")
    return AssociateRequest(
        called_ae=_text(body[4:20]), calling_ae=_text(body[20:36]), proposals=tuple(proposals),
        max_length=user.max_length, window=user.window, roles=user.roles, extended=user.extended, identity=user.identity,
        raw_titles=bytes(body[4:68]),
    )


def decode_accept(body: bytes) -> Accepted:
    """Return what the body of an A-ASSOCIATE-AC says. Ref: PS3.8 9.3.3. Raises: Malformed."""
    _check_head(body)
    results: dict[int, tuple[int, str]] = {}
    user = _User()
    for kind, value in _items(body[68:]):
        if kind == 0x21:
            if len(value) < 4 or len(results) >= _MAX_CONTEXTS:
                raise Malformed("an answer to a presentation context is cut, or one too many.")
            names = [_text(content) for sub, content in _items(value[4:]) if sub == 0x40] if value[2] == 0 else []
            results[value[0]] = (value[2], names[0] if names else "")
        if kind == 0x50:
            user = _user(value)
    return Accepted(results=results, max_length=user.max_length, window=user.window, roles=user.roles)


def _check_head(body: bytes) -> None:
    if len(body) < 68:
        raise Malformed("an association unit is too short.")
    if not _SHORT.unpack_from(body)[0] & 1:
        raise Malformed("an association unit of an unknown protocol version.")


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give (type, value) of the items in `data`. Raises: Malformed."""
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise Malformed("an association item is cut.")
        kind, length = _ITEM.unpack_from(data, at)
        at += 4
        if at + length > len(data):
            raise Malformed("an association item is longer than its request.")
        yield kind, data[at : at + length]
        at += length


def _proposal(value: bytes) -> Proposal:
    if len(value) < 4 or value[0] % 2 == 0:
        raise Malformed("a presentation context without an odd identifier.")
    abstract, transfers = "", list[str]()
    for kind, content in _items(value[4:]):
        if kind == 0x30:
            abstract = _text(content)
        elif kind == 0x40:
            transfers.append(_text(content))
    if not abstract or not transfers or len(transfers) > _MAX_SYNTAXES:
        raise Malformed("a presentation context without syntaxes, or with too many.")
    return Proposal(id=value[0], abstract_syntax=abstract, transfer_syntaxes=tuple(transfers))


def _user(value: bytes) -> _User:
    """Return the user information; items that we do not know (common extended negotiation) are passed over."""
    user = _User()
    for count, (kind, content) in enumerate(_items(value)):
        if count >= _MAX_SUB_ITEMS:
            raise Malformed("too many items of user information.")
        if kind == _MAX_LENGTH and len(content) == 4:
            (user.max_length,) = struct.unpack(">I", content)
        elif kind == _WINDOW and len(content) == 4:
            user.window = struct.unpack(">HH", content)
        elif kind == _ROLE:
            uid, rest = _named(content)
            if len(rest) != 2:
                raise Malformed("a role selection is not two bytes long.")
            user.roles[uid] = (rest[0] == 1, rest[1] == 1)
        elif kind == _EXTENDED:
            uid, rest = _named(content)
            user.extended[uid] = rest[:64]
        elif kind == _IDENTITY:
            user.identity = _user_identity(content)
    return user


def _named(content: bytes) -> tuple[str, bytes]:
    """Return (SOP class, what follows) of an item that begins with a UID and its length."""
    if len(content) < 2 or len(content) < 2 + (length := _SHORT.unpack_from(content)[0]):
        raise Malformed("an association item is cut.")
    return _text(content[2 : 2 + length]), content[2 + length :]


def _user_identity(content: bytes) -> UserIdentity:
    """Return the identity; the second field (a passcode) is checked for its length and not kept."""
    if len(content) < 6 or len(content) < 6 + (length := _SHORT.unpack_from(content, 2)[0]):
        raise Malformed("a user identity is cut.")
    (second,) = _SHORT.unpack_from(content, 4 + length)
    if 6 + length + second > len(content):
        raise Malformed("a user identity is cut.")
    return UserIdentity(kind=content[0], wants_answer=content[1] == 1, primary=content[4 : 4 + length])


def _text(raw: bytes) -> str:
    try:
        return raw.decode("ascii").rstrip("\x00 ").lstrip(" ")
    except UnicodeDecodeError as e:
        raise Malformed("an association item that is not ASCII.") from e


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _information(
    max_length: int, window: tuple[int, int] | None, roles: Mapping[str, tuple[bool, bool]], extended: Mapping[str, bytes],
    more: bytes = b"",
) -> bytes:
    """Return a user information item, its sub-items in the order of their types."""
    user = _item(_MAX_LENGTH, struct.pack(">I", max_length)) + _item(_IMPL_UID, _IMPLEMENTATION_UID)
    if window is not None:
        user += _item(_WINDOW, struct.pack(">HH", *window))
    for uid, (scu, scp) in roles.items():
        user += _item(_ROLE, _SHORT.pack(len(uid)) + uid.encode("ascii") + bytes((scu, scp)))
    user += _item(_IMPL_NAME, _IMPLEMENTATION_NAME)
    for uid, answer in extended.items():
        user += _item(_EXTENDED, _SHORT.pack(len(uid)) + uid.encode("ascii") + answer)
    return _item(0x50, user + more)


def encode_accept(request: AssociateRequest, agreement: Agreement, max_length: int) -> bytes:
    """Return the A-ASSOCIATE-AC. Ref: PS3.8 9.3.3."""
    body = struct.pack(">HH", 1, 0) + request.raw_titles + _item(0x10, _APPLICATION)
    for context_id, (result, transfer) in agreement.results.items():
        body += _item(0x21, bytes((context_id, 0, result, 0)) + _item(0x40, transfer.encode("ascii")))
    more = _item(_IDENTITY_ANSWER, _SHORT.pack(0)) if agreement.has_identity_answer else b""
    body += _information(max_length, agreement.window, agreement.roles, agreement.extended, more)
    return HEADER.pack(ASSOCIATE_AC, len(body)) + body


def encode_request(request: AssociateRequest) -> bytes:
    """Return the A-ASSOCIATE-RQ of `request`, which carries no user identity. Ref: PS3.8 9.3.2."""
    body = struct.pack(">HH", 1, 0)
    body += request.called_ae.encode("ascii").ljust(16) + request.calling_ae.encode("ascii").ljust(16) + bytes(32)
    body += _item(0x10, _APPLICATION)
    for proposal in request.proposals:
        syntaxes = b"".join(_item(0x40, uid.encode("ascii")) for uid in proposal.transfer_syntaxes)
        body += _item(0x20, bytes((proposal.id, 0, 0, 0)) + _item(0x30, proposal.abstract_syntax.encode("ascii")) + syntaxes)
    body += _information(request.max_length, request.window, request.roles, request.extended)
    return HEADER.pack(ASSOCIATE_RQ, len(body)) + body
