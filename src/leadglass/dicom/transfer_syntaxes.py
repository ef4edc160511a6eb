"""Transfer syntaxes as data. Ref: PS3.5 A, PS3.6 A, PS3.18 8.7.3 (media types)."""

from typing import Final, NamedTuple

__all__ = ["BIG_ENDIAN", "DEFLATED", "EXPLICIT_LITTLE", "IMPLICIT_LITTLE", "TRANSFER_SYNTAXES", "TransferSyntax"]


class TransferSyntax(NamedTuple):
    """How a data set is encoded."""

    uid: str
    name: str
    explicit: bool = True
    little: bool = True
    encapsulated: bool = True
    deflated: bool = False
    media_type: str = "application/octet-stream"


IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_T = "1.2.840.10008.1.2"

_TABLE: Final = (
    TransferSyntax(IMPLICIT_LITTLE, "Implicit VR Little Endian", explicit=False, encapsulated=False),
    TransferSyntax(EXPLICIT_LITTLE, "Explicit VR Little Endian", encapsulated=False),
    TransferSyntax(_T + ".1.98", "Encapsulated Uncompressed Explicit VR Little Endian"),
    TransferSyntax(DEFLATED, "Deflated Explicit VR Little Endian", encapsulated=False, deflated=True),
    TransferSyntax(BIG_ENDIAN, "Explicit VR Big Endian", little=False, encapsulated=False),
    TransferSyntax(_T + ".4.50", "JPEG Baseline (Process 1)", media_type="image/jpeg"),
    TransferSyntax(_T + ".4.51", "JPEG Extended (Process 2 & 4)", media_type="image/jpeg"),
    TransferSyntax(_T + ".4.53", "JPEG Spectral Selection (retired)", media_type="image/jpeg"),
    TransferSyntax(_T + ".4.55", "JPEG Full Progression (retired)", media_type="image/jpeg"),
    TransferSyntax(_T + ".4.57", "JPEG Lossless (Process 14)", media_type="image/jpeg"),
    TransferSyntax(_T + ".4.70", "JPEG Lossless, First-Order Prediction", media_type="image/jpeg"),
    TransferSyntax(_T + ".4.80", "JPEG-LS Lossless", media_type="image/jls"),
    TransferSyntax(_T + ".4.81", "JPEG-LS Near-Lossless", media_type="image/jls"),
    TransferSyntax(_T + ".4.90", "JPEG 2000 Lossless", media_type="image/jp2"),
    TransferSyntax(_T + ".4.91", "JPEG 2000", media_type="image/jp2"),
    TransferSyntax(_T + ".4.92", "JPEG 2000 Part 2 Lossless", media_type="image/jpx"),
    TransferSyntax(_T + ".4.93", "JPEG 2000 Part 2", media_type="image/jpx"),
    TransferSyntax(_T + ".4.94", "JPIP Referenced", encapsulated=False),
    TransferSyntax(_T + ".4.95", "JPIP Referenced Deflate", encapsulated=False, deflated=True),
    TransferSyntax(_T + ".4.100", "MPEG2 Main Profile / Main Level", media_type="video/mpeg2"),
    TransferSyntax(_T + ".4.100.1", "Fragmentable MPEG2 Main Profile / Main Level", media_type="video/mpeg2"),
    TransferSyntax(_T + ".4.101", "MPEG2 Main Profile / High Level", media_type="video/mpeg2"),
    TransferSyntax(_T + ".4.101.1", "Fragmentable MPEG2 Main Profile / High Level", media_type="video/mpeg2"),
    TransferSyntax(_T + ".4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", media_type="video/mp4"),
    TransferSyntax(_T + ".4.102.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1", media_type="video/mp4"),
    TransferSyntax(_T + ".4.103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", media_type="video/mp4"),
    TransferSyntax(_T + ".4.103.1", "Fragmentable MPEG-4 AVC/H.264 BD-compatible", media_type="video/mp4"),
    TransferSyntax(_T + ".4.104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", media_type="video/mp4"),
    TransferSyntax(_T + ".4.104.1", "Fragmentable MPEG-4 AVC/H.264 For 2D Video", media_type="video/mp4"),
    TransferSyntax(_T + ".4.105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", media_type="video/mp4"),
    TransferSyntax(_T + ".4.105.1", "Fragmentable MPEG-4 AVC/H.264 For 3D Video", media_type="video/mp4"),
    TransferSyntax(_T + ".4.106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", media_type="video/mp4"),
    TransferSyntax(_T + ".4.106.1", "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile", media_type="video/mp4"),
    TransferSyntax(_T + ".4.107", "HEVC/H.265 Main Profile / Level 5.1", media_type="video/H265"),
    TransferSyntax(_T + ".4.108", "HEVC/H.265 Main 10 Profile / Level 5.1", media_type="video/H265"),
    TransferSyntax(_T + ".4.110", "JPEG XL Lossless", media_type="image/jxl"),
    TransferSyntax(_T + ".4.111", "JPEG XL JPEG Recompression", media_type="image/jxl"),
    TransferSyntax(_T + ".4.112", "JPEG XL", media_type="image/jxl"),
    TransferSyntax(_T + ".4.201", "High-Throughput JPEG 2000 Lossless", media_type="image/jphc"),
    TransferSyntax(_T + ".4.202", "High-Throughput JPEG 2000 with RPCL Options Lossless", media_type="image/jphc"),
    TransferSyntax(_T + ".4.203", "High-Throughput JPEG 2000", media_type="image/jphc"),
    TransferSyntax(_T + ".4.204", "JPIP HTJ2K Referenced", encapsulated=False),
    TransferSyntax(_T + ".4.205", "JPIP HTJ2K Referenced Deflate", encapsulated=False, deflated=True),
    TransferSyntax(_T + ".5", "RLE Lossless", media_type="image/dicom-rle"),
    TransferSyntax(_T + ".8.1", "Deflated Image Frame Compression"),
)
TRANSFER_SYNTAXES: Final = {syntax.uid: syntax for syntax in _TABLE}
