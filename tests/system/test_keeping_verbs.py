"""The verbs of keeping as an operator types them, against a running server; /metrics and what a reader sees meanwhile."""

import time
from pathlib import Path

import pytest
import requests
from live_server import LiveServer
from phantom import ct_slice, multipart, part10

pytestmark = pytest.mark.timeout(300)  # many commands, each a process


def store(server: LiveServer, *datasets) -> requests.Session:
    body, headers = multipart([part10(d) for d in datasets])
    script = server.script("keeper")
    script.post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    return script


def test_delete_show_and_hold(server: LiveServer) -> None:
    ds = ct_slice()
    uid = ds.StudyInstanceUID
    script = store(server, ds)
    facts = server.json("studies", "show", "-", "--json", text=uid + "\n")
    assert (facts["is_here"], facts["instances"], facts["kept_until"], facts["holds"]) == (True, 1, None, [])
    assert "Phantom" not in str(facts)
    number = server.json("hold", "set", uid, "--reason", "court order", "--json")["hold"]
    assert [h["id"] for h in server.json("hold", "list", "--json")] == [number]
    refused = server.run("studies", "delete", uid, "--reason", "not wanted", "--yes", check=False)
    assert refused.returncode == 1
    assert "hold" in refused.stderr
    server.run("hold", "release", uid, "--reason", "case closed")
    wrong = server.run("studies", "delete", uid, "--reason", "not wanted", check=False, text="000000\n")
    assert wrong.returncode == 1
    assert "nothing was deleted" in wrong.stderr
    assert script.get(f"{server.url}/dicomweb/studies/{uid}/metadata").status_code == 200
    gone = server.json("studies", "delete", uid, "--reason", "not wanted", "--json", text=uid[-6:] + "\n")
    assert (gone["instances"], gone["key_destroyed"]) == (1, True)
    for path in (f"studies/{uid}", f"studies/{uid}/metadata", f"studies/{uid}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}/frames/1"):
        assert script.get(f"{server.url}/dicomweb/{path}", headers={"Accept": "*/*"}).status_code == 404
    assert uid not in script.get(f"{server.url}/dicomweb/studies").text
    shown = server.run("studies", "show", uid).stdout
    assert "not here" in shown
    assert "deleted" in shown
    store(server, ds)
    for _ in range(6):  # in every worker
        assert script.get(f"{server.url}/dicomweb/studies/{uid}/metadata").status_code == 200
    assert server.run("scrub").returncode == 0


def test_a_stream_ends_within_a_second_of_the_delete(server: LiveServer) -> None:
    datasets = [ct_slice(study="1.2.826.0.1.3680043.10.999.77", number=n, size=1024) for n in range(12)]
    script = store(server, *datasets)
    uid = datasets[0].StudyInstanceUID
    answer = script.get(f"{server.url}/dicomweb/studies/{uid}", stream=True,
                        headers={"Accept": 'multipart/related; type="application/dicom"'})
    read = len(next(answer.iter_content(1000)))
    server.run("studies", "delete", uid, "--reason", "cut the stream", "--yes")
    ended = time.monotonic()
    try:
        for piece in answer.iter_content(65536):
            read += len(piece)
            assert time.monotonic() - ended < 5
    except requests.RequestException:
        pass
    assert read < 12 * 1024 * 1024 * 2


def test_retention_rules(server: LiveServer) -> None:
    server.run("retention", "set", "--site", "south", "--modality", "MG", "--keep-days", "3650", "--delete-after-days", "5000")
    (rule,) = server.json("retention", "list", "--json")
    assert (rule["site"], rule["modality"], rule["state"]) == ("south", "MG", "not yet")
    assert rule["effective_at"] - rule["set_at"] == 86400
    assert "not yet" in server.run("retention", "list").stdout
    assert server.json("retention", "due", "--within", "30", "--json") == []
    assert server.json("retention", "run", "--dry-run", "--json")["due"] == 0
    server.run("retention", "remove", "--site", "south", "--modality", "MG")
    assert server.run("retention", "set", "--keep-days", "-4", check=False).returncode == 1
    assert server.run("retention", "remove", "--site", "nowhere", check=False).returncode == 1


def test_the_server_goes_its_round_by_itself_and_metrics_tell(server: LiveServer) -> None:
    store(server, ct_slice())
    deadline = time.monotonic() + 40
    while not (facts := server.json("scrub", "--status", "--json"))["last_ended_at"]:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert facts["findings"] == []
    assert "Last round ended" in server.run("scrub", "--status").stdout
    text = requests.get(f"{server.url}/metrics", verify=server.ready["ca"], timeout=10).text
    assert "leadglass_scrub_findings_open 0" in text
    assert "leadglass_scrub_overdue 0" in text
    assert f"leadglass_scrub_last_round_end_seconds {facts['last_ended_at']:.0f}" in text


def test_damage_makes_scrub_fail_until_the_instance_is_sent_again(tmp_path: Path) -> None:
    server = LiveServer(tmp_path)
    server.start()
    try:
        ds = ct_slice(size=256)
        store(server, ds)
        (path,) = [p for p in (server.home / "objects").rglob("*") if p.is_file()]
        data = bytearray(path.read_bytes())
        data[30_000] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)
        broken = server.run("scrub", "--json", check=False)
        assert broken.returncode == 1
        assert "Send the instance again" in broken.stdout
        assert server.run("scrub", "--status", check=False).returncode == 1
        assert "leadglass_scrub_findings_open 1" in requests.get(f"{server.url}/metrics", verify=server.ready["ca"], timeout=10).text
        script = store(server, ds)
        got = script.get(f"{server.url}/dicomweb/studies/{ds.StudyInstanceUID}", headers={"Accept": 'multipart/related; type="application/dicom"'})
        assert ds.PixelData in got.content
        assert server.run("scrub").returncode == 0
        assert server.run("scrub", "--status").returncode == 0
    finally:
        server.stop()
