"""Make sample studies of people who do not exist: a CT of a chest phantom, an MR of a head, a CR.

    python tools/make_phantom.py DIR [--slices N] [--patients N] [--seed S] [--date YYYY-MM-DD]

The same seed and date give the same bytes. Shapes are ellipsoids; nothing comes from a person.
"""

import argparse
import datetime as dt
import random  # noqa: TID251 - repeatable on purpose; nothing here is a secret
import uuid
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

PEOPLE = (
    ("Phantom^Ada", "F", "19600229"), ("Example^Bruno", "M", "19710115"), ("Sample^Chandra", "F", "19850731"),
    ("Fictitious^Dmitri", "M", "19490903"), ("Specimen^Esra", "F", "19930410"), ("Dummy^Felix", "M", "20010822"),
)
# centre x, y, z; radii x, y, z; value. Lengths are shares of the half width; later shapes cover earlier ones.
CHEST = (
    ((0, 0.05, 0), (0.82, 0.58, 3), 40), ((0, 0.05, 0), (0.77, 0.53, 3), 20),
    ((-0.38, 0, 0), (0.30, 0.42, 0.95), -820), ((0.38, 0, 0), (0.30, 0.42, 0.95), -820),
    ((0.10, -0.10, 0.15), (0.24, 0.22, 0.5), 55), ((0, 0.42, 0), (0.10, 0.09, 3), 450),
    ((0.06, 0.26, 0), (0.06, 0.06, 3), 180), ((-0.42, -0.12, -0.2), (0.05, 0.05, 0.08), 60),
)
HEAD = (
    ((0, 0, 0), (0.68, 0.82, 1.0), 620), ((0, 0, 0), (0.63, 0.77, 0.95), 90), ((0, 0, 0), (0.59, 0.73, 0.9), 420),
    ((-0.13, -0.05, 0.1), (0.07, 0.24, 0.3), 900), ((0.13, -0.05, 0.1), (0.07, 0.24, 0.3), 900),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make sample studies of people who do not exist.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--slices", type=int, default=120, help="of the CT (default 120)")
    parser.add_argument("--patients", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--date", type=dt.date.fromisoformat, default=None, help="latest study date; default today")
    options = parser.parse_args()
    today = options.date or dt.datetime.now().astimezone().date()
    count = 0
    for number in range(options.patients):
        chance = random.Random(f"{options.seed}/{number}")
        name, sex, born = PEOPLE[number % len(PEOPLE)]
        person = {"PatientName": name, "PatientID": f"DEMO-{options.seed:02}-{number + 1:04}", "PatientSex": sex,
                  "PatientBirthDate": born}
        day = today - dt.timedelta(days=number)
        studies = (("CT", ct(options.slices, chance), day), ("MR", mr(24, chance), day - dt.timedelta(days=40)),
                   ("CR", cr(chance), day - dt.timedelta(days=400)))
        for modality, slices, date in studies:
            count += write(options.directory / f"{number + 1:03}-{modality}", slices, person, date, chance)
    print(f"{count} instances in {options.directory}")


def uid(chance: random.Random) -> str:
    """Return a UID under 2.25, made of a random UUID. Ref: PS3.5 B.2."""
    return f"2.25.{uuid.UUID(int=chance.getrandbits(128), version=4).int}"


def draw(size: int, depth: float, shapes: tuple, background: float, noise: np.random.Generator, sigma: float) -> np.ndarray:
    """Return one slice at `depth` (-1..1), size x size, int16."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    image = np.full((size, size), background, np.float32)
    for (cx, cy, cz), (rx, ry, rz), value in shapes:
        inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((depth - cz) / rz) ** 2 <= 1
        image[inside] = value
    image += noise.normal(0, sigma, image.shape).astype(np.float32)
    return np.clip(image, -1024, 3000).astype("<i2")


def ct(count: int, chance: random.Random) -> list[Dataset]:
    noise = np.random.default_rng(chance.getrandbits(64))
    slices = []
    for i in range(count):
        z = 2.5 * (i - count / 2)
        ds = cross_section(CTImageStorage, "CT", draw(512, 2 * (i + 0.5) / count - 1, CHEST, -1000, noise, 12), 0.7, 2.5, z)
        ds.StudyDescription, ds.SeriesDescription, ds.BodyPartExamined = "CT chest (phantom)", "Axial 2.5 mm", "CHEST"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "HU"
        ds.WindowCenter, ds.WindowWidth, ds.KVP = 40, 400, "120"
        slices.append(ds)
    return slices


def mr(count: int, chance: random.Random) -> list[Dataset]:
    noise = np.random.default_rng(chance.getrandbits(64))
    slices = []
    for i in range(count):
        image = np.clip(draw(256, 2 * (i + 0.5) / count - 1, HEAD, 8, noise, 10), 0, None)
        ds = cross_section(MRImageStorage, "MR", image, 0.9, 5, 5.0 * (i - count / 2))
        ds.StudyDescription, ds.SeriesDescription, ds.BodyPartExamined = "MR head (phantom)", "T2 axial", "HEAD"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = 4000, 100, 1
        ds.WindowCenter, ds.WindowWidth = 450, 900
        slices.append(ds)
    return slices


def cr(chance: random.Random) -> list[Dataset]:
    """Return one projection: the chest's slices, summed along one axis."""
    noise = np.random.default_rng(chance.getrandbits(64))
    rows = [draw(512, z, CHEST, -1000, noise, 4).sum(axis=0, dtype=np.int64) for z in np.linspace(-1, 1, 512)]
    image = np.array(rows)
    image = ((image - image.min()) * 4095 // max(1, image.max() - image.min())).astype("<u2")
    ds = pixels(Dataset(), image)
    ds.SOPClassUID, ds.Modality, ds.PixelRepresentation = ComputedRadiographyImageStorage, "CR", 0
    ds.BitsStored, ds.HighBit = 12, 11
    ds.StudyDescription, ds.SeriesDescription, ds.BodyPartExamined = "Chest (phantom)", "PA", "CHEST"
    ds.ViewPosition, ds.ImageType, ds.PixelSpacing = "PA", ["ORIGINAL", "PRIMARY"], [0.7, 0.7]
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    return [ds]


def cross_section(sop_class: str, modality: str, image: np.ndarray, spacing: float, thickness: float, z: float) -> Dataset:
    ds = pixels(Dataset(), image)
    half = spacing * image.shape[0] / 2
    ds.SOPClassUID, ds.Modality, ds.PixelRepresentation = sop_class, modality, 1
    ds.PixelSpacing, ds.SliceThickness = [spacing, spacing], thickness
    ds.ImagePositionPatient = [round(-half, 3), round(-half, 3), round(z, 3)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceLocation, ds.PatientPosition, ds.PositionReferenceIndicator = round(z, 3), "HFS", ""
    return ds


def pixels(ds: Dataset, image: np.ndarray) -> Dataset:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = image.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelData = image.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def write(directory: Path, slices: list[Dataset], person: dict, date: dt.date, chance: random.Random) -> int:
    """Write one study of one series; return how many instances."""
    directory.mkdir(parents=True, exist_ok=True)
    study, series, frame = uid(chance), uid(chance), uid(chance)
    time = f"{chance.randrange(8, 17):02}{chance.randrange(60):02}00"
    for number, ds in enumerate(slices, 1):
        for keyword, value in person.items():
            setattr(ds, keyword, value)
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = study, series, uid(chance)
        if ds.Modality != "CR":
            ds.FrameOfReferenceUID = frame
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = date.strftime("%Y%m%d")
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = time
        ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "1", 1, 1, number
        ds.AccessionNumber = f"D{person['PatientID'][-4:]}{ds.Modality}"
        ds.ReferringPhysicianName, ds.Manufacturer, ds.InstitutionName = "Referrer^Demo", "Leadglass phantom", "Example"
        ds.PatientOrientation = ["L", "F"] if ds.Modality == "CR" else ["L", "P"]
        ds.BurnedInAnnotation = "NO"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(directory / f"{number:04}.dcm", enforce_file_format=True)
    return len(slices)


if __name__ == "__main__":
    main()
