"""DIMSE command sets: implicit VR little endian, group 0000. Ref: PS3.7 6.3.1, E.1."""

import struct
from typing import Final

from leadglass.errors import Malformed

__all__ = ["HAS_DATA_SET", "NO_DATA_SET", "Command", "CommandField", "decode_command", "encode_command"]

Command = dict[str, str | int]  # keyword -> value

NO_DATA_SET: Final = 0x0101
HAS_DATA_SET: Final = 0x0001
_MAX_COMMAND: Final = 4096


class CommandField:
    """Values of (0000,0100)."""

    C_STORE_RQ: Final = 0x0001
    C_STORE_RSP: Final = 0x8001
    C_GET_RQ: Final = 0x0010
    C_FIND_RQ: Final = 0x0020
    C_MOVE_RQ: Final = 0x0021
    C_ECHO_RQ: Final = 0x0030
    N_EVENT_REPORT_RQ: Final = 0x0100
    N_EVENT_REPORT_RSP: Final = 0x8100
    N_ACTION_RQ: Final = 0x0130
    C_CANCEL_RQ: Final = 0x0FFF


_ELEMENTS: Final = {
    0x0002: ("AffectedSOPClassUID", "UI"), 0x0003: ("RequestedSOPClassUID", "UI"), 0x0100: ("CommandField", "US"),
    0x0110: ("MessageID", "US"), 0x0120: ("MessageIDBeingRespondedTo", "US"), 0x0600: ("MoveDestination", "AE"),
    0x0700: ("Priority", "US"), 0x0800: ("CommandDataSetType", "US"), 0x0900: ("Status", "US"),
    0x0901: ("OffendingElement", "AT"), 0x0902: ("ErrorComment", "LO"), 0x0903: ("ErrorID", "US"),
    0x1000: ("AffectedSOPInstanceUID", "UI"), 0x1001: ("RequestedSOPInstanceUID", "UI"),
    0x1002: ("EventTypeID", "US"), 0x1008: ("ActionTypeID", "US"),
    0x1020: ("NumberOfRemainingSuboperations", "US"), 0x1021: ("NumberOfCompletedSuboperations", "US"),
    0x1022: ("NumberOfFailedSuboperations", "US"), 0x1023: ("NumberOfWarningSuboperations", "US"),
    0x1030: ("MoveOriginatorApplicationEntityTitle", "AE"), 0x1031: ("MoveOriginatorMessageID", "US"),
}
_BY_NAME: Final = {name: (element, vr) for element, (name, vr) in _ELEMENTS.items()}


def decode_command(data: bytes) -> Command:
    """Return keyword -> value; unknown elements are passed over. Raises: Malformed."""
    if len(data) > _MAX_COMMAND:
        raise Malformed("a command set larger than 4 KiB.")
    values: Command = {}
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise Malformed("a command set ends inside an element.")
        group, element, length = struct.unpack_from("<HHI", data, at)
        at += 8
        if group != 0 or at + length > len(data):
            raise Malformed("a command set holds an element that has no place in it.")
        known = _ELEMENTS.get(element)
        if known is not None and length:
            name, vr = known
            raw = data[at : at + length]
            if vr == "US":
                if length != 2:
                    raise Malformed(f"{name} of a command set is not two bytes long.")
                values[name] = struct.unpack("<H", raw)[0]
            elif vr != "AT":
                values[name] = raw.decode("ascii", "replace").rstrip("\x00 ").strip()
        at += length
    return values


def encode_command(values: Command) -> bytes:
    """Return the command set with its group length, elements in order."""
    body = b""
    for element, vr, value in sorted((*_BY_NAME[name], value) for name, value in values.items()):
        if vr == "US":
            raw = struct.pack("<H", value)
        else:
            raw = str(value).encode("ascii", "replace")
            raw += (b"\x00" if vr == "UI" else b" ") * (len(raw) % 2)
        body += struct.pack("<HHI", 0, element, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body
