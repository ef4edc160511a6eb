"""A study or a series to take away: a ZIP with a DICOMDIR. Ref: PS3.10 8, PS3.11 D (STD-GEN names), PS3.3 F.

Leaves as it is read: neither memory nor a file ever holds it, and a reader who goes away ends the work. A grant of its
own (STUDY_EXPORT) opens it and is checked before each piece; the ledger says what was begun, and whether it went
out whole. Instances go out as stored: a conversion could lose what a later reader needs. Names in the archive are
counted, never taken from an image.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from leadglass.dicom.dicomdir import MAX_INSTANCES, Directory
from leadglass.errors import Malformed
from leadglass.terms import Action, Grant
from leadglass.web.dicomweb.negotiation import accepted
from leadglass.web.dicomweb.retrieve import find, instances, no_query
from leadglass.web.dicomweb.streaming import stream
from leadglass.web.dicomweb.zip_stream import zipped

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["ZIP", "files", "give_archive", "read_me"]

ZIP: Final = "application/zip"
_HEADERS: Final = {"content-disposition": 'attachment; filename="study.zip"', "vary": "accept"}
_File = tuple[str, int, Iterable[bytes]]


def files(call: "Call") -> Response:
    """Give the DICOM files of the study or series of the path: as parts, or as one archive for who asks for that."""
    wanted = accepted(call.request)
    return give_archive(call) if wanted[:1] and wanted[0].type == ZIP else instances(call)


def give_archive(call: "Call") -> Response:
    """Give the study or series of the path as a ZIP. Raises: Missing, Malformed, Unproven."""
    no_query(call)
    grant, rows = find(call, Action.STUDY_EXPORT)
    if len(rows) > MAX_INSTANCES:
        raise Malformed(f"a file-set takes at most {MAX_INSTANCES} instances; export by series.")
    if call.request.method == "HEAD":
        return Response(headers={**_HEADERS, "content-type": ZIP})
    return stream(_recorded(call, grant, rows), ZIP, _HEADERS, stall_seconds=call.settings.association_idle_seconds)


def _recorded(call: "Call", grant: Grant, rows: list[Any]) -> Iterator[bytes]:
    """Give the archive between two records: no byte leaves before the first, and the second comes however it ends."""
    operations = call.house.operations
    octets = 0
    is_whole = False
    operations.record_export(grant, what=f"begun: {len(rows)} files", instances=len(rows))
    try:
        for piece in zipped(_files(call, grant, rows)):
            octets += len(piece)
            yield piece
        is_whole = True
    finally:
        what = f"whole: {len(rows)} files" if is_whole else "cut before its end"
        operations.record_export(grant, what=what, instances=len(rows), octets=octets, is_done=is_whole)


def _files(call: "Call", grant: Grant, rows: list[Any]) -> Iterator[_File]:
    """Give the files in their order: what people read first, the images, and the directory, which knows them all."""
    operations = call.house.operations
    directory = Directory()
    text = read_me(len(rows)).encode("ascii")
    yield "README.TXT", len(text), (text,)
    series, number, last = 0, 0, ""
    for row in rows:
        if row.series_uid != last:
            series, number, last = series + 1, 0, row.series_uid
        number += 1
        file_id = ("DICOM", f"SE{series:06d}", f"IM{number:06d}")
        directory.add(
            file_id, _model(call, grant, row), sop_class_uid=row.sop_class_uid, sop_instance_uid=row.sop_instance_uid,
            transfer_syntax_uid=row.transfer_syntax_uid, has_pixels=bool(row.frames),
        )
        yield "/".join(file_id), row.length, operations.stream_instance(grant, row)
    data = directory.to_bytes()
    yield "DICOMDIR", len(data), (data,)


def _model(call: "Call", grant: Grant, row: Any) -> dict[str, Any]:
    """Return the model for the directory, with the identity that the index keeps, however the header reads."""
    try:
        model = call.house.operations.metadata(grant, row, lambda path: path)
    except Malformed:
        model = {}
    return {**model, "0020000D": {"vr": "UI", "Value": [row.study_uid]}, "0020000E": {"vr": "UI", "Value": [row.series_uid]}}


def read_me(files: int) -> str:
    """Return README.TXT: what this is and how it opens; nothing of a patient. ASCII, with the line ends of DOS."""
    lines = (
        "DICOM images, exported by Leadglass.", "",
        f"Files: {files}. DICOMDIR lists them; the images are in the folder DICOM.",
        "Open the whole folder, or DICOMDIR, in any DICOM viewer or workstation.",
        "The images are as the archive keeps them; some may be compressed.",
        "Where an image lacked a value that a directory must have, DICOMDIR has a number",
        "counted or the date 1900-01-01 instead; the image itself is unchanged.", "",
        "This is health data about a person. Keep it encrypted, give it to nobody who may",
        "not have it, and delete it when it is no longer needed. That it was exported, by",
        "whom and when, is on record.", "",
    )
    return "\r\n".join(lines)
