"""The Native DICOM Model, a data set as XML, both ways. Ref: PS3.19 A.1; PS3.18 8.7.3.2 (application/dicom+xml).

`to_xml` writes what dicom/json_model.py gives. `from_xml` reads what a stranger sends: no document type, no entities,
no external anything (defusedxml), no recursion, and size, depth and counts bounded while it reads, not after.
A private attribute stands as gggg00ee with its creator's name; its block is found again, or reserved, when read.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from xml.sax import SAXException  # the exceptions and the interface only; the parser is defusedxml's
from xml.sax.handler import ContentHandler, feature_namespaces

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import create_parser

from leadglass.dicom.dictionary import keyword_of, vr_of
from leadglass.dicom.elements import Limits
from leadglass.dicom.value_representations import VALUE_REPRESENTATIONS, Kind
from leadglass.errors import Malformed

__all__ = ["NAMESPACE", "from_xml", "to_xml"]

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]{1,32}(?:\.[0-9]{0,32})?|\.[0-9]{1,32})(?:[eE][+-]?[0-9]{1,3})?")
_NOT_FINITE: Final = frozenset({"NaN", "INF", "-INF"})
_UNWRITABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0 2.2 has no place for them
_ESCAPES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})
_IN_ATTRIBUTES: Final = str.maketrans({"\t": "&#9;", "\n": "&#10;"})  # a reader turns bare ones into blanks
_NODES_AN_ELEMENT: Final = 5  # XML elements that one data element may cost on average: a name has eight


# --- to XML ---------------------------------------------------------------------------------------------------
def to_xml(model: dict[str, Any]) -> bytes:
    """Return the model as a Native DICOM Model document in UTF-8.

    Args: model: as dicom/json_model.py makes it; nesting is bounded there.
    A character that XML 1.0 cannot hold (form feed, escape, an unpaired surrogate) is written as U+FFFD.
    """
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n', f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">']
    parts.extend(_data_set(model))
    parts.append("</NativeDicomModel>\n")
    return "".join(parts).encode("utf-8")


def _text(value: Any) -> str:
    return _UNWRITABLE.sub("\ufffd", str(value)).translate(_ESCAPES)


def _attribute(value: Any) -> str:
    return _text(value).translate(_IN_ATTRIBUTES)


def _data_set(model: dict[str, Any]) -> Iterator[str]:
    creators = _creators(model)
    for key, entry in sorted(model.items()):
        tag = int(key, 16)
        creator = creators.get(tag >> 8) if tag >> 16 & 1 and tag & 0xFF00 else None
        shown = tag & 0xFFFF00FF if creator is not None else tag
        keyword = keyword_of(tag) if creator is None else ""
        yield f'<DicomAttribute tag="{shown:08X}" vr="{_attribute(entry["vr"])}"'
        if keyword:
            yield f' keyword="{keyword}"'
        if creator is not None:
            yield f' privateCreator="{_attribute(creator)}"'
        inside = "".join(_content(entry))
        yield f">{inside}</DicomAttribute>" if inside else "/>"


def _creators(model: dict[str, Any]) -> dict[int, str]:
    """Return (group, block) -> creator, for blocks whose creator can be told from its name alone."""
    found: dict[int, str] = {}
    taken: set[tuple[int, str]] = set()
    for key, entry in sorted(model.items()):
        tag = int(key, 16)
        if not tag >> 16 & 1 or not 0x10 <= tag & 0xFFFF <= 0xFF:
            continue
        value = (entry.get("Value") or [None])[0]
        if isinstance(value, str) and value and (tag >> 16, value) not in taken:
            taken.add((tag >> 16, value))
            found[(tag >> 16) << 8 | tag & 0xFF] = value
    return found


def _content(entry: dict[str, Any]) -> Iterator[str]:
    if "InlineBinary" in entry:
        yield f"<InlineBinary>{_text(entry['InlineBinary'])}</InlineBinary>"
    elif "BulkDataURI" in entry:
        yield f'<BulkData uri="{_attribute(entry["BulkDataURI"])}"/>'
    else:
        for number, value in enumerate(entry.get("Value", ()), 1):
            if entry["vr"] == "SQ":
                yield f'<Item number="{number}">'
                yield from _data_set(value or {})
                yield "</Item>"
            elif isinstance(value, dict):
                yield f'<PersonName number="{number}">{_name(value)}</PersonName>'
            elif value is not None:
                yield f'<Value number="{number}">{_text(value)}</Value>'


def _name(value: dict[str, Any]) -> str:
    out = ""
    for group in _GROUPS:
        if value.get(group):
            parts = str(value[group]).split("^", len(_COMPONENTS) - 1)
            inside = "".join(f"<{c}>{_text(p)}</{c}>" for c, p in zip(_COMPONENTS, parts, strict=False))
            out += f"<{group}>{inside}</{group}>"
    return out


# --- from XML -------------------------------------------------------------------------------------------------
def from_xml(data: bytes, limits: Limits) -> dict[str, Any]:
    """Return the model of a Native DICOM Model document, keys in order.

    Args: data: untrusted, at most limits.max_header_bytes. Values are typed by VR (numbers as numbers) and are not
    held to the rules of their VR: the encoder does that.
    Raises: Malformed, naming the rule that is broken and no value.
    """
    if len(data) > limits.max_header_bytes:
        raise Malformed(f"XML: larger than {limits.max_header_bytes} bytes.")
    reader = _Reader(limits)
    parser = create_parser(forbid_dtd=True, forbid_entities=True, forbid_external=True)
    parser.setFeature(feature_namespaces, True)
    parser.setContentHandler(reader)
    try:
        parser.feed(data)
        parser.close()
    except DefusedXmlException as e:  # entities are how a few bytes become gigabytes, or somebody else's file
        raise Malformed("XML: a document type and entities have no place here.") from e
    except (SAXException, ValueError, LookupError) as e:  # LookupError: an encoding that nobody knows
        raise Malformed("XML: the document is not well-formed.") from e
    if reader.model is None:
        raise Malformed("XML: the document holds no NativeDicomModel.")
    return reader.model


class _Open:
    """One XML element that is open: what it may hold, and what it has held."""

    __slots__ = ("creator", "holds", "kind", "model", "names", "next", "private", "tag", "text", "values", "vr")

    def __init__(self, kind: str) -> None:
        self.kind = kind  # "set", "attribute", "name", "group", or the name of an element that holds text alone
        self.holds = ""  # attribute: the one kind of child that it has
        self.tag = 0
        self.vr = self.creator = ""
        self.next = 1  # attribute: the number that the next value has
        self.values: list[Any] = []
        self.text: list[str] = []
        self.names: dict[str, str] = {}
        self.model: dict[str, Any] = {}
        self.private: list[tuple[int, str, dict[str, Any]]] = []  # set: attributes whose block is not known yet


_CHILDREN: Final = {
    "": frozenset({"NativeDicomModel"}), "set": frozenset({"DicomAttribute"}),
    "attribute": frozenset({"Value", "Item", "PersonName", "InlineBinary", "BulkData"}),
    "name": frozenset(_GROUPS), "group": frozenset(_COMPONENTS),
}
_HOLDS_TEXT: Final = frozenset({"Value", "InlineBinary", *_COMPONENTS})
_NUMBERED: Final = frozenset({"Value", "Item", "PersonName"})


class _Reader(ContentHandler):
    """Builds the model; the stack of open elements is its own, so that depth costs nothing but a count."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.model: dict[str, Any] | None = None
        self._stack: list[_Open] = []
        self._limits = limits
        self._nodes = self._elements = self._level = 0

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > self._limits.max_elements * _NODES_AN_ELEMENT:
            raise Malformed(f"XML: more than {self._limits.max_elements * _NODES_AN_ELEMENT} elements.")

    def startElementNS(self, name: tuple[str | None, str], _: str | None, attrs: Any) -> None:  # noqa: N802 - SAX
        namespace, local = name
        parent = self._stack[-1] if self._stack else None
        if namespace not in {NAMESPACE, None} or local not in _CHILDREN.get(parent.kind if parent else "", ()):
            raise Malformed("XML: an element stands where the Native DICOM Model has no place for it.")
        self._count(1)
        if parent is not None and parent.kind == "attribute":
            self._child(parent, local, attrs)
        match local:
            case "NativeDicomModel":
                opened = _Open("set")
            case "Item":
                self._level += 1
                if 2 * self._level > self._limits.max_depth:  # counted as dicom/elements.py does: sequence and item
                    raise Malformed(f"sequences are nested deeper than {self._limits.max_depth} levels.")
                opened = _Open("set")
            case "DicomAttribute":
                opened = self._attribute(attrs)
            case "PersonName":
                opened = _Open("name")
            case "Alphabetic" | "Ideographic" | "Phonetic":
                opened = _Open("group")
            case _:
                opened = _Open(local)
        self._stack.append(opened)

    def _attribute(self, attrs: Any) -> _Open:
        self._elements += 1
        if self._elements > self._limits.max_elements:
            raise Malformed(f"more than {self._limits.max_elements} data elements.")
        text = attrs.get((None, "tag"), "")
        if _TAG.fullmatch(text) is None:
            raise Malformed("XML: a tag is eight hexadecimal digits.")
        opened = _Open("attribute")
        opened.tag = int(text, 16)
        opened.creator = attrs.get((None, "privateCreator"), "")
        opened.vr = attrs.get((None, "vr"), "") or ("UN" if opened.creator else vr_of(opened.tag))
        if opened.vr not in VALUE_REPRESENTATIONS:
            raise Malformed("XML: a VR is none of the standard.")
        return opened

    def _child(self, parent: _Open, local: str, attrs: Any) -> None:
        """Check a child of an attribute against the VR and against its sisters; keep its number."""
        if parent.holds and (parent.holds != local or local not in _NUMBERED):
            raise Malformed("XML: an attribute holds values of two kinds.")
        parent.holds = local
        kind = VALUE_REPRESENTATIONS[parent.vr].kind
        wanted = {Kind.SEQUENCE: "Item", Kind.NAME: "PersonName", Kind.BINARY: "InlineBinary"}.get(kind, "Value")
        if local != wanted and (local != "BulkData" or kind is Kind.SEQUENCE):
            raise Malformed("XML: an attribute holds what its VR does not have.")
        if local == "BulkData":
            uri = attrs.get((None, "uri"), "")
            if not uri:
                raise Malformed("XML: BulkData has no uri.")
            parent.text.append(uri)
        elif local in _NUMBERED:
            text = attrs.get((None, "number"), "")
            if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < parent.next:
                raise Malformed("XML: values are numbered upwards from 1.")
            gap = int(text) - parent.next
            if gap and local == "Item":  # an empty value is left out, an empty item is written: one line must not make 661
                raise Malformed("XML: items are numbered one after the other.")
            self._count(gap)  # a number of a billion is an attack: each gap costs as much as a value
            parent.values.extend([None] * gap)
            parent.next = int(text) + 1

    def characters(self, content: str) -> None:
        opened = self._stack[-1]
        if opened.kind in _HOLDS_TEXT:
            opened.text.append(content)
        elif content.strip():
            raise Malformed("XML: text stands where none may be.")

    def endElementNS(self, name: tuple[str | None, str], _: str | None) -> None:  # noqa: N802 - SAX
        opened = self._stack.pop()
        parent = self._stack[-1] if self._stack else None
        local = name[1]
        if opened.kind == "set":
            model = _finished(opened)
            if parent is None:
                self.model = model
            else:
                self._level -= 1
                parent.values.append(model)
        elif parent is None:  # pragma: no cover - only a data set stands at the top
            raise Malformed("XML: the document holds no NativeDicomModel.")
        elif opened.kind == "attribute":
            _keep(parent, opened)
        elif local == "Value":
            parent.values.append(_value(parent.vr, "".join(opened.text)))
        elif local == "InlineBinary":
            parent.text.append("".join("".join(opened.text).split()))
        elif local == "PersonName":
            parent.values.append(opened.names or None)
        elif opened.kind == "group":
            last = max((i for i, c in enumerate(_COMPONENTS) if c in opened.names), default=-1)
            text = "^".join(opened.names.get(c, "") for c in _COMPONENTS[: last + 1])
            if local in parent.names:
                raise Malformed("XML: a component group stands twice.")
            if text:
                parent.names[local] = text
        elif local in _COMPONENTS:
            if local in parent.names:
                raise Malformed("XML: a name component stands twice.")
            parent.names[local] = "".join(opened.text)


def _value(vr: str, text: str) -> Any:
    """Return a value as the JSON model has it. Raises: Malformed."""
    representation = VALUE_REPRESENTATIONS[vr]
    if representation.kind in {Kind.TEXT, Kind.PARAGRAPH, Kind.ASCII}:
        return text or None
    text = text.strip()
    if not text:
        return None
    if representation.kind is Kind.INTEGER or (representation.kind is Kind.NUMBER and representation.code not in "fd"):
        if _INTEGER.fullmatch(text) is None:
            raise Malformed("XML: a whole number is wanted.")
        return int(text)
    if representation.kind in {Kind.DECIMAL, Kind.NUMBER}:
        if representation.kind is Kind.NUMBER and text in _NOT_FINITE:
            return text
        if _DECIMAL.fullmatch(text) is None:
            raise Malformed("XML: a number is wanted.")
        return int(text) if _INTEGER.fullmatch(text) and abs(int(text)) < 2**53 else float(text)
    return text


def _keep(parent: _Open, opened: _Open) -> None:
    """Put a finished attribute into its data set. Raises: Malformed, for one that is there already."""
    entry: dict[str, Any] = {"vr": opened.vr}
    if opened.holds == "InlineBinary":
        entry["InlineBinary"] = opened.text[0]
    elif opened.holds == "BulkData":
        entry["BulkDataURI"] = opened.text[0]
    elif opened.values:
        entry["Value"] = opened.values
    if opened.creator and opened.tag >> 16 & 1 and opened.tag & 0xFFFF <= 0xFF:
        parent.private.append((opened.tag, opened.creator, entry))
        return
    key = f"{opened.tag:08X}"
    if key in parent.model:
        raise Malformed("XML: an attribute stands twice in one data set.")
    parent.model[key] = entry


def _finished(opened: _Open) -> dict[str, Any]:
    """Return the data set in order, private attributes in their blocks. Ref: PS3.5 7.8.1. Raises: Malformed."""
    model = opened.model
    blocks: dict[tuple[int, str], int] = {}
    used: set[tuple[int, int]] = set()
    for key, entry in sorted(model.items()):
        group, element = int(key[:4], 16), int(key[4:], 16)
        if group & 1 and 0x10 <= element <= 0xFF:
            used.add((group, element))
            value = (entry.get("Value") or [None])[0]
            if isinstance(value, str):
                blocks.setdefault((group, value), element)
        elif group & 1:
            used.add((group, element >> 8))
    for tag, creator, entry in opened.private:
        group = tag >> 16
        if (group, creator) not in blocks:
            block = next((b for b in range(0x10, 0x100) if (group, b) not in used), None)
            if block is None:
                raise Malformed("XML: a private group has no block left.")
            used.add((group, block))
            blocks[group, creator] = block
            model[f"{group:04X}{block:04X}"] = {"vr": "LO", "Value": [creator]}
        key = f"{group:04X}{blocks[group, creator]:02X}{tag & 0xFF:02X}"
        if key in model:
            raise Malformed("XML: an attribute stands twice in one data set.")
        model[key] = entry
    return dict(sorted(model.items()))
