"""Small valid instances for tests, with names and identifiers of the test's choice."""

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def ct_slice(
    *, study: str | None = None, series: str | None = None, instance: str | None = None, number: int = 1, size: int = 64,
    seed: int = 0, **attributes: Any,
) -> Dataset:
    """Return one CT slice of `size` x `size` pixels; the same arguments give the same pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = instance or generate_uid(prefix=None)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = study or generate_uid(prefix=None)
    ds.SeriesInstanceUID = series or generate_uid(prefix=None)
    ds.PatientName, ds.PatientID = "Test^Phantom", "PHANTOM-1"
    ds.PatientBirthDate, ds.PatientSex = "19700101", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260102", "101112", "ACC1", "1"
    ds.StudyDescription, ds.SeriesDescription, ds.Modality = "Phantom", "Axial", "CT"
    ds.SeriesNumber, ds.InstanceNumber = 1, number
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.WindowCenter, ds.WindowWidth = "0", "1", "500", "1000"
    ds.PixelSpacing, ds.ImagePositionPatient = ["1", "1"], ["0", "0", str(number)]
    ds.ImageOrientationPatient, ds.SliceThickness = ["1", "0", "0", "0", "1", "0"], "1"
    ds.FrameOfReferenceUID = ds.StudyInstanceUID + ".9"
    y, x = np.mgrid[:size, :size]
    disc = ((x - size / 2) ** 2 + (y - size / 2) ** 2 < (size / 3) ** 2) * 800
    noise = np.random.default_rng(seed * 1000 + number).integers(0, 50, (size, size))
    ds.PixelData = (disc + noise).astype("<i2").tobytes()
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def part10(ds: Dataset) -> bytes:
    """Return the file of a data set."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def multipart(files: list[bytes], boundary: str = "lg-test") -> tuple[bytes, dict[str, str]]:
    """Return (body, headers) of a STOW-RS request."""
    body = b"".join(
        b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (boundary.encode(), data) for data in files
    ) + b"--%s--\r\n" % boundary.encode()
    return body, {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                  "Accept": "application/dicom+json"}
