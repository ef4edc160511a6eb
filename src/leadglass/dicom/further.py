"""Further attributes of a study and a series, which the index keeps beside its columns. Ref: PS3.4 C.6, PS3.18 10.6.3.

What comes from a header is a small data set of its own (`Head.kept`, encoded as the header is); it is decoded only
when a study or a series is new. Keywords stand here by the entity they describe; all of them can be matched.
"""

from collections.abc import Iterator
from typing import Any, Final

from leadglass.dicom.dictionary import keyword_of, tag_of
from leadglass.dicom.elements import Limits
from leadglass.dicom.json_model import to_json
from leadglass.dicom.transfer_syntaxes import TRANSFER_SYNTAXES

__all__ = ["KEPT", "MAX_ELEMENT", "MAX_KEPT", "SERIES", "STUDY", "Value", "further", "values_of"]

STUDY: Final = frozenset({
    # of the patient
    "AdditionalPatientHistory", "Allergies", "EthnicGroup", "IssuerOfPatientIDQualifiersSequence", "MedicalAlerts", "Occupation",
    "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames", "PatientAge", "PatientBirthTime", "PatientComments",
    "PatientIdentityRemoved", "PatientSize", "PatientSpeciesDescription", "PatientState", "PatientWeight", "PregnancyStatus",
    "ReferencedPatientSequence", "ResponsiblePerson", "SmokingStatus", "SpecialNeeds", "TypeOfPatientID",
    # of the study
    "AdmissionID", "AdmittingDiagnosesCodeSequence", "AdmittingDiagnosesDescription", "IssuerOfAccessionNumberSequence",
    "NameOfPhysiciansReadingStudy", "OtherStudyNumbers", "PhysiciansOfRecord", "ProcedureCodeSequence",
    "ReasonForPerformedProcedureCodeSequence", "ReferencedStudySequence", "ReferringPhysicianIdentificationSequence",
    "RequestedProcedureDescription", "RequestingPhysician", "RequestingService", "ServiceEpisodeID", "TimezoneOffsetFromUTC",
})
SERIES: Final = frozenset({
    "AnatomicRegionSequence", "ContrastBolusAgent", "DeviceSerialNumber", "FrameOfReferenceUID", "InstitutionAddress",
    "InstitutionName", "InstitutionalDepartmentName", "Laterality", "Manufacturer", "ManufacturerModelName", "OperatorsName",
    "PatientPosition", "PerformedProcedureStepDescription", "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime",
    "PerformedProcedureStepID", "PerformedProtocolCodeSequence", "PerformingPhysicianName", "ProtocolName",
    "ReferencedPerformedProcedureStepSequence", "RequestAttributesSequence", "ScanningSequence", "SequenceName",
    "SeriesDescriptionCodeSequence", "SeriesType", "SoftwareVersions",
})
KEPT: Final = frozenset({0x00080005, *(tag for name in STUDY | SERIES if (tag := tag_of(name)) is not None)})
MAX_ELEMENT: Final = 16384  # bytes of one element
MAX_KEPT: Final = 65536  # bytes of all
_LIMITS: Final = Limits(max_depth=12, max_elements=2000)
_MAX_ITEMS: Final = 50
_MAX_VALUES: Final = 500
_MAX_TEXT: Final = 1024
Value = tuple[str, int, str, str]  # keyword (RequestAttributesSequence.RequestedProcedureID), item, VR, value


def further(kept: bytes, transfer_syntax: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON models of what describes the study and of what describes the series. Never raises."""
    if not kept:
        return {}, {}
    syntax = TRANSFER_SYNTAXES[transfer_syntax]
    model = to_json(
        kept, offset=0, explicit=syntax.explicit, little=syntax.little, limits=_LIMITS, bulk_uri=lambda _: "")
    study: dict[str, Any] = {}
    series: dict[str, Any] = {}
    for key, element in model.items():
        keyword = keyword_of(int(key, 16))
        if "Value" in element and keyword in STUDY:
            study[key] = element
        elif "Value" in element and keyword in SERIES:
            series[key] = element
    return study, series


def values_of(model: dict[str, Any]) -> list[Value]:
    """Return what can be matched of a model: values at the top, and in items down to two sequences deep."""
    found: list[Value] = []
    for key, element in model.items():
        keyword = keyword_of(int(key, 16))
        if element["vr"] != "SQ":
            found.extend((keyword, at, element["vr"], text) for at, text in enumerate(_texts(element)))
            continue
        for at, item in enumerate(element.get("Value", [])[:_MAX_ITEMS]):
            found.extend((f"{keyword}.{path}", at, vr, text) for path, vr, text in _inner(item))
    return found[:_MAX_VALUES]


def _inner(item: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Give (path, VR, value) inside one item."""
    for key, element in item.items():
        name = keyword_of(int(key, 16))
        if name and element["vr"] != "SQ":
            yield from ((name, element["vr"], text) for text in _texts(element))
        elif name:
            for deeper in element.get("Value", [])[:_MAX_ITEMS]:
                for sub, last in deeper.items():
                    inner = keyword_of(int(sub, 16))
                    if inner and last["vr"] != "SQ":
                        yield from ((f"{name}.{inner}", last["vr"], text) for text in _texts(last))


def _texts(element: dict[str, Any]) -> Iterator[str]:
    """Give the values of an element as a question would write them."""
    for value in element.get("Value", []):
        if isinstance(value, dict):
            yield "=".join(value.get(group, "") for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")[:_MAX_TEXT]
        elif value is not None:
            yield str(value)[:_MAX_TEXT]


