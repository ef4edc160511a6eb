"""A frame alone in another compressed transfer syntax: the same pixels, or a refusal before anything is decoded."""

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from phantom import ct_slice, part10
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from small_house import put, small_house

from leadglass.errors import Malformed, Missing
from leadglass.terms import Peer, Plane


def test_a_frame_is_converted_without_loss_or_refused(tmp_path: Path) -> None:
    ds = ct_slice()
    with small_house(tmp_path) as house:
        put(house, ds)
        me = house.entrance.local("t")
        house.administration.clients_add(me, "reader", "service")
        token, _ = house.administration.clients_token(me, "reader", seconds=60)
        who = house.entrance.bearer(token, Peer(plane=Plane.WEB, address="127.0.0.1"))
        grant = house.operations.study(who, ds.StudyInstanceUID)
        (row,) = house.operations.locate(grant)
        for uid in ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.5"):
            assert uid in house.operations.syntaxes_of(row)
            again = pydicom.dcmread(BytesIO(part10(ds)))
            again.file_meta.TransferSyntaxUID = uid
            again.PixelData = encapsulate([house.operations.frame_in(grant, row, 1, uid)])
            again["PixelData"].VR, again["PixelData"].is_undefined_length = "OB", True
            assert (pixel_array(again, raw=True) == pixel_array(ds, raw=True)).all(), uid
        for uid in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1", "1.2.3"):
            with pytest.raises(Malformed):
                house.operations.frame_in(grant, row, 1, uid)
        with pytest.raises(Missing):
            house.operations.frame_in(grant, row, 2, "1.2.840.10008.1.2.5")
