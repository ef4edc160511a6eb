"""STOW-RS of metadata and bulk data as a script sends it, and what the answer says."""

import io
from typing import Any

import pydicom
import requests
from live_server import LiveServer
from store_bodies import body_of, uid_of

PIXELS = bytes(range(256))
XML = "application/dicom+xml"


def post(server: LiveServer, *parts: Any, inner: str = "application/dicom+json", path: str = "", **headers: str) -> requests.Response:
    body, plain = body_of(*parts, inner=inner)
    return script(server).post(f"{server.url}/dicomweb/studies{path}", data=body, headers=plain | headers, timeout=60)


SCRIPTS: dict[int, requests.Session] = {}


def script(server: LiveServer) -> requests.Session:
    if id(server) not in SCRIPTS:
        SCRIPTS[id(server)] = server.script("loader")
    return SCRIPTS[id(server)]


def reasons(answer: requests.Response) -> dict[str, int]:
    """Return SOP Instance UID -> failure reason; "" for those without a UID."""
    model = answer.json()
    found = {i["00081155"]["Value"][0]: i["00081197"]["Value"][0] for i in model.get("00081198", {}).get("Value", [])}
    others = [i["00081197"]["Value"][0] for i in model.get("0008119A", {}).get("Value", [])]
    return found | ({"": others[0]} if others else {})


def stored(server: LiveServer, model: dict[str, Any]) -> pydicom.Dataset:
    """Return the instance as it is given back."""
    url = f"{server.url}/dicomweb/studies/{uid_of(model, '0020000D')}/series/{uid_of(model, '0020000E')}/instances/{uid_of(model)}"
    answer = script(server).get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200, answer.text
    return pydicom.dcmread(io.BytesIO(answer.content))
