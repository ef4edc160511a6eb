"""The viewer: OHIF's finished files under /viewer, its configuration, and our page around it.

The files are the npm package's own, built for the root of a site; tools/fetch_viewer.py makes them shorter and packs
them, and viewer.lock.json names each change in a script. All stand under the version of the tree, so that a browser keeps
them for good and asks for none of them twice. `index.html` is rewritten on the way out: our prefix, the page's nonce, and
what the browser will need at once (needed.json), which it then fetches side by side and not as one script names the next.
The study list has it fetched while the reader is still choosing. There is no service worker: nothing works offline.
"""

import json
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Missing
from leadglass.web.browser_safety import decoder_csp, viewer_csp
from leadglass.web.console.pages import render
from leadglass.web.console.static_files import FOREVER, UNSURE, resolve, send_file

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["Needed", "app_config", "htmx_file", "needed", "view", "viewer_file"]

_PREFIX: Final = "/viewer/"
_SYSTEM: Final = Path("/usr/share/leadglass/viewer")
_VERSION_DIGITS: Final = 16
_KINDS: Final = {".js": "script", ".css": "style", ".woff2": "font", ".wasm": "fetch"}
# What was compressed before it came goes out as it is; all else without loss as HTJ2K, half as many bytes as native pixels.
_AS_STORED: Final = ("50", "51", "57", "70", "80", "81", "90", "91", "92", "93", "201", "203")
_FRAMES: Final = ", ".join((
    *(f"application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.{n}" for n in _AS_STORED),
    "image/jphc; transfer-syntax=1.2.840.10008.1.2.4.202", "application/octet-stream; transfer-syntax=*; q=0.5",
))
_LOGO: Final = (  # our name in the viewer's corner; the way back is in our own bar
    '{ createLogoComponentFn: (React) => React.createElement("span", '
    '{ style: { fontWeight: 600, color: "#d6e27a" } }, "Leadglass") }'
)


@cache
def _dist(configured: str) -> Path:
    """Return the directory with `ohif` and `htmx` in it."""
    own = Path(__file__).parents[4] / "viewer" / "dist"
    return Path(configured) if configured else own if own.is_dir() else _SYSTEM


def _version(dist: Path) -> str:
    """Return the version of the tree that lies there now, or ""; read each time, since a new tree takes the old one's place."""
    try:
        return (dist / ".lock.sha256").read_text("ascii")[:_VERSION_DIGITS]
    except OSError:
        return ""


@dataclass(frozen=True)
class Needed:
    """A file that the browser needs before the first image."""

    url: str
    kind: str  # the `as` of its link
    rel: str  # "preload", or "prefetch" for what a worker is made of or asks for

    @property
    def is_decoder(self) -> bool:
        """Whether it is the script of the decode worker."""
        return self.rel == "prefetch" and self.kind == "script"


@lru_cache(maxsize=4)
def _needed(dist: Path, version: str) -> tuple[Needed, ...]:
    path = dist / "needed.json"
    names: dict[str, list[str]] = json.loads(path.read_text("ascii")) if version and path.is_file() else {}
    return tuple(Needed(f"{_PREFIX}{version}/{name}", _KINDS[Path(name).suffix], rel) for rel in names for name in names[rel])


def needed(call: "Call") -> tuple[Needed, ...]:
    """Return what a reader's browser needs before the first image, of this version of the viewer; nothing of an older kind."""
    dist = _dist(call.settings.viewer_dir)
    return _needed(dist, _version(dist))


def htmx_file(call: "Call") -> Response:
    """Send htmx, which is in no repository of ours."""
    path = _dist(call.settings.viewer_dir) / "htmx" / "htmx.min.js"
    if not path.is_file():
        raise Missing("no such file.")
    return send_file(call, path, "private, max-age=3600")


def viewer_file(call: "Call") -> Response:
    """Send a file of the viewer; every other path below /viewer is the application's own page."""
    name = call.params.get("name", "")
    dist = _dist(call.settings.viewer_dir)
    root, version = dist / "ohif", _version(dist)
    first, _, rest = name.partition("/")
    is_versioned = first == version and version != ""
    path = resolve(root, rest if is_versioned else name) if name else None
    if path is not None and path.name not in {"index.html", "app-config.js"}:
        answer = send_file(call, path, FOREVER if is_versioned else UNSURE)
        if is_versioned and any(one.is_decoder and one.url.endswith("/" + path.name) for one in needed(call)):
            answer.headers["content-security-policy"] = decoder_csp()
        return answer
    if "." in name.rsplit("/", 1)[-1]:
        raise Missing("no such file.")
    index = root / "index.html"
    if not index.is_file():
        raise Missing("the viewer is not installed. Run: make setup")
    text = _rewritten(index.read_text("utf-8"), version, needed(call)).replace("<script", f'<script nonce="{call.nonce}"')
    headers = {"content-security-policy": viewer_csp(call.nonce), "cache-control": "no-store"}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


@lru_cache(maxsize=4)
def _rewritten(text: str, version: str, files: tuple[Needed, ...]) -> str:
    """Return the page for our prefix, without the service worker (nothing of it may work offline) and the icons."""
    text = re.sub(r'<link rel="(?:apple-[^"]*|icon[^"]*|manifest|yandex[^"]*)"[^>]*>', "", text)
    text = re.sub(r"<script[^>]*init-service-worker\.js[^>]*></script>", "", text)
    text = text.replace('PUBLIC_URL="/"', f'PUBLIC_URL="{_PREFIX}"')
    text = re.sub(r'(href|src|content)="/(?!/)', rf'\1="{_PREFIX}', text)
    if version:
        text = re.sub(rf'(href|src)="{_PREFIX}(app\.bundle\.[^"]*)"', rf'\1="{_PREFIX}{version}/\2"', text)
    links = "".join(f'<link rel="{one.rel}" href="{one.url}" as="{one.kind}"'
                    f'{" crossorigin" if one.kind in {"font", "fetch"} else ""}>' for one in files)
    return text.replace("</title>", f"</title>{links}").replace("<title>OHIF Viewer<", "<title>Viewer - Leadglass<")


def app_config(_: "Call") -> Response:
    """Give the viewer's configuration: our DICOMweb and nothing else; the session is a cookie that no script sees."""
    source = {
        "friendlyName": "Leadglass", "name": "leadglass", "wadoUriRoot": "/dicomweb", "qidoRoot": "/dicomweb",
        "wadoRoot": "/dicomweb", "qidoSupportsIncludeField": True, "supportsReject": False, "dicomUploadEnabled": False,
        "imageRendering": "wadors", "thumbnailRendering": "thumbnailDirect", "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": True, "supportsWildcard": True, "supportsStow": False,
        "staticWado": False, "singlepart": "bulkdata,pdf,video", "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
        "acceptHeader": [_FRAMES], "stackRetrieveOptions": {"retrieveOptions": {"single": {}}},
    }
    config = {
        "name": "leadglass", "routerBasename": "/viewer", "extensions": [], "modes": [],
        "customizationService": {"ohif.tours": {"$set": []}},
        "showStudyList": False, "maxNumberOfWebWorkers": 2, "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False, "showLoadingIndicator": True, "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True, "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 4},
        "showErrorDetails": "production", "investigationalUseDialog": {"option": "never"},
        "defaultDataSourceName": "leadglass",
        "dataSources": [{"namespace": "@ohif/extension-default.dataSourcesModule.dicomweb", "sourceName": "leadglass",
                         "configuration": source}],
    }
    text = f"window.config = {json.dumps(config)};\nwindow.config.whiteLabeling = {_LOGO};\n"
    return Response(text, media_type="text/javascript; charset=utf-8")


def view(call: "Call") -> Response:
    """Show a study in the viewer, in a frame of our page: its bar and its lock are ours."""
    uid = call.params["study"]
    if not is_valid_uid(uid):
        raise Missing("no such study here, or none that you may see.")
    return render(call, "view.html", study=uid, idle_seconds=call.session.idle_seconds, name=call.session.name)
