"""Rejection notes as real devices make them. Ref: PS3.3 A.35.4, PS3.16 TID 2010."""

from collections.abc import Sequence

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

KEY_OBJECT_SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"


def code(value: str, meaning: str = "x", scheme: str = "DCM") -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def rejection_note(*named: Dataset, title: str = "113001", scheme: str = "DCM", study: str = "", has_evidence: bool = True,
                   has_content: bool = True, extra: Sequence[str] = (), **attributes: str) -> Dataset:
    """Return a note that rejects the instances `named` (and the bare UIDs of `extra`, in the same series)."""
    first = named[0] if named else Dataset()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = KEY_OBJECT_SELECTION, generate_uid(prefix=None)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = KEY_OBJECT_SELECTION, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = study or first.get("StudyInstanceUID") or generate_uid(prefix=None)
    ds.SeriesInstanceUID, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = generate_uid(prefix=None), "KO", 99, 1
    ds.PatientName, ds.PatientID = first.get("PatientName", "Test^Phantom"), first.get("PatientID", "PHANTOM-1")
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [code(title, scheme=scheme)]
    references = [(d.SOPClassUID, d.SOPInstanceUID, d.StudyInstanceUID, d.SeriesInstanceUID) for d in named]
    references += [("1.2.840.10008.5.1.4.1.1.2", uid, ds.StudyInstanceUID, first.get("SeriesInstanceUID", "1.2.3"))
                   for uid in extra]
    if has_evidence:
        ds.CurrentRequestedProcedureEvidenceSequence = [_evidence(*one) for one in references]
    if has_content:
        ds.ContentSequence = [_content(*one) for one in references]
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def _reference(sop_class: str, instance: str) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = sop_class, instance
    return ds


def _evidence(sop_class: str, instance: str, study: str, series: str) -> Dataset:
    inner, outer = Dataset(), Dataset()
    inner.SeriesInstanceUID, inner.ReferencedSOPSequence = series, [_reference(sop_class, instance)]
    outer.StudyInstanceUID, outer.ReferencedSeriesSequence = study, [inner]
    return outer


def _content(sop_class: str, instance: str, *_: str) -> Dataset:
    ds = Dataset()
    ds.RelationshipType, ds.ValueType = "CONTAINS", "IMAGE"
    ds.ReferencedSOPSequence = [_reference(sop_class, instance)]
    return ds
