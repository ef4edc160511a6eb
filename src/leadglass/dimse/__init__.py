"""The DICOM face: translate DIMSE to door calls and back.

Trusts: access, for who may do what. Refuses: unknown AE titles, units larger than agreed, senders that stall, and
whole data sets in memory. The acceptor is our own and sans-I/O below wire.py; see decision 0002.

    DimseServer(house, settings, plain=listening, tls=listening_tls, tls_context=context).serve_forever()
"""

from leadglass.dimse.commitment import report_due
from leadglass.dimse.server import DimseServer

__all__ = ["DimseServer", "report_due"]
