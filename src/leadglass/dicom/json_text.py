"""The DICOM JSON model as text, of many data sets that are nearly alike: the slices of a series. Ref: PS3.18 Annex F.

From one slice to the next four or five of a hundred elements change. So the text of an element is kept with its bytes, and
where the next data set has the same bytes in the same place, it has the same text: nothing is parsed, and elements that stay
are compared as one run. What an element's text depends on besides its bytes (the character set, the sign of pixels) is kept
with it and compared. The result is the text of `json_model.to_json`, and everything unusual (out of order, broken off, too
large) is left to that: tests compare both.
"""

import contextlib
import json
import struct
from collections.abc import Callable
from itertools import groupby
from operator import and_, itemgetter
from typing import Any, Final, NamedTuple

from leadglass.dicom.elements import PIXEL_DATA, UNDEFINED, Limits, needs_more, walk
from leadglass.dicom.json_model import Root, entry_of, fill, stands_alone, to_json
from leadglass.dicom.values import encodings_of
from leadglass.errors import Malformed

__all__ = ["JsonTexts", "encoded"]

_LEAST_ELEMENT: Final = 8  # bytes: so many elements at most are in a buffer
_SHORT: Final = struct.Struct("<HH2sH").unpack_from  # tag, VR, length. Ref: PS3.5 7.1.2
_PLAIN: Final = {vr.encode(): vr for vr in (
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US")}
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class _State(NamedTuple):
    """What the text of an element depends on besides its bytes."""

    encodings: tuple[str, ...]
    is_signed: bool


class _Known(NamedTuple):
    """An element that has been read, or a run of several."""

    raw: bytes  # all of it: tag, VR, length, value, up to the delimiter where there is one
    first: int  # tag
    last: int  # tag
    parts: dict[str, str]  # 00080060 -> "00080060":{...}; empty for what has no place in the model
    before: _State
    after: _State
    members: "tuple[_Known, ...]" = ()  # the elements of a run


class _UnusualError(Exception):
    """A data set is one for `to_json`."""


def encoded(model: Any) -> str:
    """Return a model, or a text in one, in the shape in which every answer has it."""
    return _encode(model)


class JsonTexts:
    """Makes texts, one after the other; what the last data set was is remembered. For one thread."""

    def __init__(self, limits: Limits, bulk_uri: Callable[[str], str]) -> None:
        """Args: bulk_uri: as in `to_json`; the same for every data set."""
        self._limits, self._bulk_uri = limits, bulk_uri
        self.unusual = 0  # data sets that were left to `to_json`
        self._like: list[_Known] = []
        self._loose: set[int] = set()  # tags of elements that have changed from one data set to the next
        self._shape: tuple[bool, bool] = (True, True)
        self._states: dict[_State, _State] = {}
        self._tails: dict[tuple[bytes, _State], dict[str, str]] = {}
        self._first = self._state(encodings_of(""), is_signed=False)

    def text(
        self, buffer: bytes, *, offset: int, explicit: bool, little: bool, pixels: int, is_complete: bool,
        more: Callable[[dict[str, str]], dict[str, Any]] = lambda _: {},
    ) -> str:
        """Return the model as `to_json` gives it, with what `more` adds to it or replaces in it.

        Args: pixels: offset of the pixel data's tag, where the buffer ends a few bytes later; -1 = the buffer holds none.
            more: given the keys that are there, by any value; returns entries of the model.
        Never raises, as `to_json`.
        """
        try:
            parts = self._parts(buffer, offset, explicit=explicit, little=little, pixels=pixels)
        except (_UnusualError, Malformed, needs_more):
            self.unusual += 1
            model = to_json(buffer, offset=offset, explicit=explicit, little=little, limits=self._limits,
                            bulk_uri=self._bulk_uri, is_complete=is_complete)
            parts = {key: _text(key, entry) for key, entry in model.items()}
        for key, entry in more(parts).items():
            parts[key] = _text(key, entry)
        return "{" + ",".join(parts.values()) + "}"

    def _parts(self, buffer: bytes, offset: int, *, explicit: bool, little: bool, pixels: int) -> dict[str, str]:
        """Return key -> text, in ascending order. Raises: _UnusualError, Malformed, needs_more."""
        stop = len(buffer) if pixels == -1 else pixels
        if not offset <= stop <= len(buffer) or len(buffer) // _LEAST_ELEMENT >= self._limits.max_elements:
            raise _UnusualError
        if self._shape != (explicit, little):
            self._shape, self._like, self._tails = (explicit, little), [], {}
        like, self._like = self._like, []  # forgotten, should this one be unusual
        loose = self._loose if like else set()  # nothing has changed before the second
        found: list[_Known] = []
        same: list[bool] = []  # whether it stays, and stays in a run
        at, last, state = 0, -1, self._first
        startswith = buffer.startswith
        while offset < stop:
            known = like[at] if at < len(like) else None
            if known is not None and known.before is state and startswith(known.raw, offset):
                at += 1
                same.append(known.first not in loose)
            elif known is not None and known.members:
                like[at : at + 1] = known.members  # something in the run has changed
                continue
            else:
                known = self._read(buffer, offset, stop, state)
                loose.add(known.first)
                same.append(False)
                while at < len(like) and like[at].last <= known.first:
                    at += 1
            raw, first, end, _, _, state, _ = known
            if first <= last:
                raise _UnusualError  # twice, or out of order
            last = end
            offset += len(raw)
            found.append(known)
        if offset != stop:
            raise _UnusualError
        parts: dict[str, str] = {}
        for known in found:
            parts.update(known.parts)
        if pixels != -1:
            if last >= min(PIXEL_DATA):
                raise _UnusualError
            parts |= self._tail(buffer[pixels:], state)
        self._like = _in_runs(found, same) if any(map(and_, same, same[1:])) else found
        return parts

    def _read(self, buffer: bytes, offset: int, stop: int, state: _State) -> _Known:
        """Return the element at `offset`, read by `fill` alone. Raises: _UnusualError, Malformed, needs_more."""
        explicit, little = self._shape
        if explicit and little and offset + 8 <= stop:  # most of what differs from slice to slice, read at a third of the cost
            group, element, code, length = _SHORT(buffer, offset)
            tag, vr, end = group << 16 | element, _PLAIN.get(code), offset + 8 + length
            if vr is not None and end <= stop and stands_alone(tag):
                key = f"{tag:08X}"
                entry = entry_of(vr, buffer[offset + 8 : end], state.encodings, "<")
                return _Known(buffer[offset:end], tag, tag, {key: _text(key, entry)}, state, state)
        walker = walk(buffer, offset=offset, end=stop, explicit=explicit, little=little, limits=self._limits, nested=False)
        first = next(walker)
        if first.tag >> 16 == 0xFFFE or first.tag in PIXEL_DATA:
            raise _UnusualError
        end = first.value + first.length
        if first.length == UNDEFINED:
            end = next((element.start for element in walker if element.depth == 0), stop)
        root = Root({}, state.encodings, is_signed=state.is_signed)
        fill(root, buffer, offset=offset, end=end, explicit=explicit, little=little, limits=self._limits, bulk_uri=self._bulk_uri,
             is_complete=True)
        parts = {key: _text(key, entry) for key, entry in root.model.items()}
        after = self._state(root.encodings, is_signed=root.is_signed)
        return _Known(buffer[offset:end], first.tag, first.tag, parts, state, after)

    def _tail(self, raw: bytes, state: _State) -> dict[str, str]:
        """Return what `fill` makes of the pixel data's header; nothing, where the buffer ends inside of it."""
        known = self._tails.get((raw, state))
        if known is None:
            explicit, little = self._shape
            root = Root({}, state.encodings, is_signed=state.is_signed)
            with contextlib.suppress(needs_more, Malformed):
                fill(root, raw, offset=0, end=len(raw), explicit=explicit, little=little, limits=self._limits,
                     bulk_uri=self._bulk_uri, is_complete=False)
            known = {key: _text(key, entry) for key, entry in sorted(root.model.items())}
            if len(self._tails) < 64:  # compressed slices differ in their lengths
                self._tails[raw, state] = known
        return known

    def _state(self, encodings: tuple[str, ...], *, is_signed: bool) -> _State:
        """Return one object for equal states, so that they are compared by identity."""
        state = _State(encodings, is_signed)
        return self._states.setdefault(state, state)


def _in_runs(found: list[_Known], same: list[bool]) -> list[_Known]:
    """Return the elements of a data set with those that stay, and stand side by side, as one."""
    out: list[_Known] = []
    for stays, group in groupby(zip(found, same, strict=True), key=itemgetter(1)):
        items = [known for known, _ in group]
        if stays and len(items) > 1:
            members = tuple(member for item in items for member in item.members or (item,))
            parts = {key: text for item in items for key, text in item.parts.items()}
            items = [_Known(b"".join([item.raw for item in items]), items[0].first, items[-1].last, parts, items[0].before,
                            items[-1].after, members)]
        out += items
    return out


def _text(key: str, entry: Any) -> str:
    return f'"{key}":{_encode(entry)}'
