"""Questions for C-FIND that two archives are asked, and what in their answers differs for a known reason.

Each code is explained in docs/reference/conformance/query.md, "Compared with Orthanc"; a test holds the two together.
"""

from typing import Any

from finding import PATIENT_FIND, STUDY_FIND

__all__ = ["CODES", "QUESTIONS", "TWO_FACES", "UNIQUE", "explain_row", "explain_value"]

UNIQUE = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
EPI = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
_P, _S = PATIENT_FIND, STUDY_FIND
Question = tuple[str, str, dict[str, str], str]


def _q(model: str, level: str, codes: str = "", **keys: str) -> Question:
    return model, level, {UNIQUE[level]: "", **keys}, codes


# name -> (information model, level, keys, codes of the differences that must occur, and no others)
QUESTIONS: dict[str, Question] = {
    "patients": _q(_P, "PATIENT", "patient-rows japanese", PatientName="", PatientBirthDate="", PatientSex=""),
    "patient by id": _q(_P, "PATIENT", PatientID="A*", PatientName=""),
    "patient counts": _q(_P, "PATIENT", "patient-rows", NumberOfPatientRelatedStudies="", NumberOfPatientRelatedSeries="",
                         NumberOfPatientRelatedInstances=""),
    "studies": _q(_S, "STUDY", "two-patients japanese old-text", PatientName="", PatientID="", PatientBirthDate="", PatientSex="", StudyDate="", StudyTime="",
                  StudyID="", AccessionNumber="", StudyDescription="", ReferringPhysicianName="", ModalitiesInStudy=""),
    "study counts": _q(_S, "STUDY", "two-patients", NumberOfStudyRelatedSeries="", NumberOfStudyRelatedInstances=""),
    "study classes": _q(_S, "STUDY", "two-patients", SOPClassesInStudy=""),
    "study further": _q(_S, "STUDY", "two-patients decimals", PatientComments="", PatientAge="", PatientWeight="", RequestedProcedureDescription=""),
    "institution": _q(_S, "STUDY", "institution", InstitutionName="*o*"),
    "date": _q(_S, "STUDY", StudyDate="20040119"),
    "date range": _q(_S, "STUDY", StudyDate="20040101-20061231"),
    "date from": _q(_S, "STUDY", "two-patients", StudyDate="20100101-"),
    "date to": _q(_S, "STUDY", "empty-in-range old-text", StudyDate="-19991231"),
    "time range": _q(_S, "STUDY", "old-text", StudyTime="080000-120000"),
    "time hour": _q(_S, "STUDY", "part-of-time", StudyTime="10"),
    "birth range": _q(_S, "STUDY", PatientBirthDate="19500101-19701231"),
    "name wild": _q(_S, "STUDY", PatientName="C*"),
    "name case": _q(_S, "STUDY", PatientName="compressedSAMPLES^ct1"),
    "name question mark": _q(_S, "STUDY", PatientName="Anonymi?e*"),
    "name delimiter": _q(_S, "STUDY", "two-patients name-delimiter japanese", PatientName="*^*e*"),
    "name accent": _q(_S, "STUDY", "name-accent", PatientName="Buc^Jerome"),
    "name accented": _q(_S, "STUDY", PatientName="Äneas^Rüdiger"),
    "name ideographic": _q(_S, "STUDY", "japanese", PatientName="*山田*"),
    "name one group": _q(_S, "STUDY", "name-group", PatientName="Yamada^Tarou"),
    "name cyrillic": _q(_S, "STUDY", PatientName="Люк*"),
    "name greek": _q(_S, "STUDY", PatientName="Διον*"),
    "name arabic": _q(_S, "STUDY", PatientName="قباني*"),
    "name hebrew": _q(_S, "STUDY", PatientName="שרון*"),
    "id case": _q(_S, "STUDY", PatientID="cq500*"),
    "id wild": _q(_S, "STUDY", PatientID="*1*"),
    "id list": _q(_S, "STUDY", PatientID="77654033\\98890234"),
    "accession": _q(_S, "STUDY", AccessionNumber="*1*"),
    "description": _q(_S, "STUDY", StudyDescription="*BRAIN*"),
    "description case": _q(_S, "STUDY", StudyDescription="*brain*"),
    "sex": _q(_S, "STUDY", PatientSex="M"),
    "referring": _q(_S, "STUDY", ReferringPhysicianName="*o*"),
    "modalities": _q(_S, "STUDY", ModalitiesInStudy="MR"),
    "modalities list": _q(_S, "STUDY", "", ModalitiesInStudy="SR\\US"),
    "uid list": _q(_S, "STUDY", StudyInstanceUID="1.2.3.4\\1.3.6.1.4.1.5962.1.2.0.1175775771.5702.0"),
    "star": _q(_S, "STUDY", "two-patients star", PatientID="*"),
    "key of a series": _q(_S, "STUDY", "lower-key", Modality="CT"),
    "series": _q(_S, "SERIES", "", StudyInstanceUID="$multi", Modality="", SeriesNumber="", SeriesDescription="", NumberOfSeriesRelatedInstances=""),
    "series by modality": _q(_S, "SERIES", "", StudyInstanceUID="$multi", Modality="MR"),
    "series without study": _q(_S, "SERIES", "unique-keys", Modality="CT"),
    "images": _q(_S, "IMAGE", "", StudyInstanceUID="$multi", SeriesInstanceUID="$multi", InstanceNumber="", SOPClassUID="", Rows=""),
    "image by number": _q(_S, "IMAGE", "", StudyInstanceUID="$multi", SeriesInstanceUID="$multi", InstanceNumber="3"),
    "patients of the study root": _q(_S, "PATIENT", "study-root"),
}
# Orthanc's QIDO-RS matches these in another way than its C-FIND: without heed to case, or an attribute of another level.
TWO_FACES = {"description", "description case", "institution"}
CODES = {"percent-encoding", "two-faces"} | {code for *_, codes in QUESTIONS.values() for code in codes.split()}


def explain_row(question: Question, row: dict[str, str], *, is_ours: bool, facts: dict[str, set[str]]) -> str:
    """Return the code for a row that one of the two alone has, or "". Args: facts: "shared": studies of two patients."""
    _, level, keys, _ = question
    if level == "PATIENT":
        return "study-root" if question[0] == STUDY_FIND and not is_ours else "patient-rows"
    if level == "SERIES":
        return "unique-keys" if not is_ours and not keys.get("StudyInstanceUID") else ""
    if row["StudyInstanceUID"] in facts["shared"]:
        return "two-patients"
    if not is_ours and keys.get("StudyDate", "").startswith("-") and not row["StudyDate"]:
        return "empty-in-range"
    if is_ours and len(keys.get("StudyTime", "")) == 2:
        return "part-of-time"
    if is_ours and keys.get("PatientID") == "*" and not row["PatientID"]:
        return "star"
    name = keys.get("PatientName", "")
    if row["StudyInstanceUID"] in facts["japanese"]:
        return "name-group" if is_ours and "=" not in name and "*" not in name else "japanese"
    if is_ours and name == "Buc^Jerome":
        return "name-accent"
    if is_ours and "^" in name and "^" not in row.get("PatientName", ""):
        return "name-delimiter"
    return "lower-key" if is_ours and level == "STUDY" and "Modality" in keys else ""


def explain_value(question: Question, uid: str, name: str, values: tuple[str, str], facts: dict[str, set[str]]) -> str:
    """Return the code for a value that differs in a row of both, or ""."""
    level, (ours, theirs) = question[1], values
    if name == "PatientName" and uid in facts["japanese"] | facts["japanese patients"]:
        return "japanese"
    if uid in facts["shared"]:
        return "two-patients"
    if level == "PATIENT" and uid in facts["patients of many"] | facts["shared patients"]:
        return "patient-rows"
    if ours == theirs.replace(".", "").replace(":", "") and ours.isdigit():
        return "old-text"
    if name == "InstitutionName" and not ours:
        return "institution"
    return "decimals" if _number(ours) is not None and _number(ours) == _number(theirs) else ""


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return None
