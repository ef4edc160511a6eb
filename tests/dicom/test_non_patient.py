"""Objects that belong to no study: refused by their name, at negotiation and in a file. Ref: decision 0022."""

import pytest
from dimse_world import EXPLICIT, associate
from phantom import ct_slice, part10
from pynetdicom.sop_class import _NON_PATIENT_OBJECT_CLASSES

from leadglass.dicom.elements import Limits
from leadglass.dicom.part10 import file_meta, parse_head
from leadglass.dicom.sop_classes import NON_PATIENT_SOP_CLASSES, STORAGE_SOP_CLASSES
from leadglass.dimse.associate import decode_associate
from leadglass.dimse.negotiation import negotiate
from leadglass.errors import Malformed


def test_the_table_is_the_standards_and_shares_nothing_with_what_is_stored() -> None:
    assert set(NON_PATIENT_SOP_CLASSES) == set(_NON_PATIENT_OBJECT_CLASSES.values())
    assert not set(NON_PATIENT_SOP_CLASSES) & set(STORAGE_SOP_CLASSES)


@pytest.mark.parametrize("uid", sorted(NON_PATIENT_SOP_CLASSES))
def test_an_object_of_no_patient_is_refused_by_its_name(uid: str) -> None:
    data = part10(ct_slice(SOPClassUID=uid))  # with a study even: it is the kind that has no place
    with pytest.raises(Malformed, match=NON_PATIENT_SOP_CLASSES[uid]):
        parse_head(data, is_complete=True, limits=Limits())


def test_their_contexts_are_not_accepted() -> None:
    uids = sorted(NON_PATIENT_SOP_CLASSES)
    request = decode_associate(associate([(2 * n + 1, uid, (EXPLICIT,)) for n, uid in enumerate(uids)])[6:])
    agreement, accepted = negotiate(request)
    assert {result[0] for result in agreement.results.values()} == {3}  # abstract syntax not supported
    assert accepted == {}


def test_a_dicomdir_is_refused_with_advice() -> None:
    data = file_meta("1.2.840.10008.1.3.10", "1.2.3", EXPLICIT) + b"\x04\x00\x30\x11CS\x04\x00TEST"
    with pytest.raises(Malformed, match="leadglass import"):
        parse_head(data, is_complete=True, limits=Limits())
