"""Each way to the bytes of a study, for those who may not have them: someone else's study is no study, a locked session none."""

from typing import Any

import pytest
import requests
from live_server import LiveServer
from phantom import ct_slice, multipart, part10
from signed_in import lock, sign_in

PATHS = ["", "/metadata", "/bulkdata", "/pixeldata", "?accept=application/zip"]
INSTANCE = ["", "/metadata", "/bulkdata", "/pixeldata", "/frames/1", "/bulkdata/7FE00010", "/bulkdata/00282000"]


@pytest.fixture(scope="module")
def world(server: LiveServer) -> dict[str, Any]:
    """A study of someone else's patient, and one of the referrer's own."""
    other = ct_slice(ICCProfile=bytes(2000), ReferringPhysicianName="Wilson^James")
    own = ct_slice(ICCProfile=bytes(2000), ReferringPhysicianName="House^Gregory")
    body, headers = multipart([part10(other), part10(own)])
    server.script("loader").post(f"{server.url}/dicomweb/studies", data=body, headers=headers).raise_for_status()
    browser, _, session = sign_in(server, "gregory", "referring", referring="house gregory")
    return {"other": other, "own": own, "browser": browser, "session": session}


def urls(server: LiveServer, study: str, series: str, instance: str) -> list[str]:
    """Return every address under which something of the instance is given."""
    base = f"{server.url}/dicomweb/studies/{study}"
    levels = [base, f"{base}/series/{series}"]
    found = [level + path for level in levels for path in PATHS]
    found += [f"{levels[1]}/instances/{instance}{path}" for path in INSTANCE]
    return [*found, f"{server.url}/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"]


def ask(browser: requests.Session, url: str, method: str = "GET", **headers: str) -> tuple[int, bytes, str]:
    answer = browser.request(method, url, headers=headers)
    return answer.status_code, answer.content, answer.headers.get("etag", "")


def test_someone_elses_study_looks_like_one_that_is_not_there(server: LiveServer, world: dict[str, Any]) -> None:
    other, browser = world["other"], world["browser"]
    theirs = urls(server, other.StudyInstanceUID, other.SeriesInstanceUID, other.SOPInstanceUID)
    nobodys = urls(server, "1.2.3.4", "1.2.3.5", "1.2.3.6")
    for method, headers in (("GET", {}), ("GET", {"Range": "bytes=0-0"}), ("GET", {"If-None-Match": "*"}), ("HEAD", {})):
        for one, none in zip(theirs, nobodys, strict=True):
            if method == "HEAD" and "/wado" in one:
                continue
            answer = ask(browser, one, method, **headers)
            assert answer[0] == 404, (method, one)
            assert answer == ask(browser, none, method, **headers)


def test_what_may_be_read_is_there_until_the_session_locks(server: LiveServer, world: dict[str, Any]) -> None:
    own, browser = world["own"], world["browser"]
    mine = urls(server, own.StudyInstanceUID, own.SeriesInstanceUID, own.SOPInstanceUID)
    for url in mine:
        assert ask(browser, url)[0] == 200, url
    lock(server, world["session"])
    for url in mine:
        for headers in ({}, {"If-None-Match": "*"}):
            assert ask(browser, url, **headers) == (401, b"", ""), url
