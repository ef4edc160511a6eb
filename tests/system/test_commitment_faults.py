"""kill -9 between a commitment request and its report: the report comes after the restart."""

import time
from pathlib import Path

import pytest
from live_server import LiveServer
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

pytestmark = pytest.mark.faults
COMMIT = "1.2.840.10008.1.20.1"


def test_kill_9_between_request_and_report_loses_nothing(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    got = []
    modality = AE("CT1")
    modality.add_supported_context(COMMIT, scu_role=False, scp_role=True)
    server = modality.start_server(
        ("127.0.0.1", 0), block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, lambda e: (got.append(e.event_information.TransactionUID), (0, None))[1])])
    try:
        live = LiveServer(tmp_path)
        live.run("devices", "add", "CT1", "--host", "127.0.0.1", "--port", str(server.server_address[1]))
        live.start()
        asked = []
        for _ in range(5):
            client = AE("CT1")
            client.add_requested_context(COMMIT)
            association = client.associate("127.0.0.1", live.dicom_port, ae_title="LEADGLASS")
            assert association.is_established
            request = Dataset()
            request.TransactionUID = generate_uid(prefix=None)
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid(prefix=None)
            request.ReferencedSOPSequence = [item]
            status, _ = association.send_n_action(request, 1, COMMIT, "1.2.840.10008.1.20.1.1")
            live.kill()  # the answer has come, the report has not
            assert status.Status == 0
            asked.append(str(request.TransactionUID))
            association.abort()
            live.start()
        end = time.monotonic() + 30
        while set(asked) - set(map(str, got)) and time.monotonic() < end:
            time.sleep(0.1)
        assert set(asked) <= set(map(str, got))
        assert live.stop() == 0
    finally:
        server.shutdown()
