"""C-FIND questions by pynetdicom: keys in, answers as data sets out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

PATIENT_FIND, STUDY_FIND = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT = "1.2.840.10008.1.2"


def keys(level: str, charset: str = "", **values: Any) -> Dataset:
    """Return an identifier; "A__B" asks for B in the item of A, a value of None or "" for anything."""
    ds = Dataset()
    if charset:
        ds.SpecificCharacterSet = charset.split("\\")
    ds.QueryRetrieveLevel = level
    for name, value in values.items():
        outer, _, inner = name.partition("__")
        if inner:
            if outer not in ds:
                setattr(ds, outer, [Dataset()])
            setattr(getattr(ds, outer)[0], inner, value)
        else:
            setattr(ds, outer, value)
    return ds


@contextmanager
def asker(port: int, *, calling: str = "WS", called: str = "LEADGLASS", extended: bytes = b"", syntaxes: Any = (IMPLICIT,)) -> Iterator[Any]:
    """Give an association for both information models; `extended` is asked of both."""
    ae = AE(calling)
    for model in (PATIENT_FIND, STUDY_FIND):
        ae.add_requested_context(model, list(syntaxes))
    asked = []
    for model in (PATIENT_FIND, STUDY_FIND) if extended else ():
        one = SOPClassExtendedNegotiation()
        one.sop_class_uid, one.service_class_application_information = model, extended
        asked.append(one)
    association = ae.associate("127.0.0.1", port, ae_title=called, ext_neg=asked)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def find(association: Any, question: Dataset, *, model: str = STUDY_FIND) -> tuple[list[Dataset], list[int], Dataset]:
    """Return (answers, the statuses of all responses, the last status data set)."""
    answers, statuses, last = [], [], Dataset()
    for status, identifier in association.send_c_find(question, model):
        statuses.append(int(status.Status) if "Status" in status else -1)
        last = status
        if identifier is not None:
            answers.append(identifier)
    return answers, statuses, last
