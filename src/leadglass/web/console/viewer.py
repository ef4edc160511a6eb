"""The viewer: OHIF's finished files under /viewer, its configuration, and our page around it.

The files are the npm package's own, built for the root of a site. viewer.lock.json names the one change in a script
(where chunks are loaded from); `index.html` is rewritten on the way out: our prefix, and the page's nonce.
"""

import json
import mimetypes
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import FileResponse, Response

from leadglass.dicom.uids import is_valid_uid
from leadglass.errors import Missing
from leadglass.web.browser_safety import viewer_csp
from leadglass.web.console.pages import render

if TYPE_CHECKING:
    from leadglass.web.calls import Call

__all__ = ["app_config", "resolve", "static_file", "view", "viewer_file"]

_PREFIX: Final = "/viewer/"
_STATIC: Final = Path(__file__).parent / "static"
_SYSTEM: Final = Path("/usr/share/leadglass/viewer")
_FOREVER: Final = "private, max-age=31536000, immutable"
_HOUR: Final = "private, max-age=3600"
_LOGO: Final = (  # our name in the viewer's corner; the way back is in our own bar
    '{ createLogoComponentFn: (React) => React.createElement("span", '
    '{ style: { fontWeight: 600, color: "#d6e27a" } }, "Leadglass") }'
)
_HASHED: Final = re.compile(r"\.[0-9a-f]{16}\.|^[0-9a-f]{16}\.")


@cache
def _dist(configured: str) -> Path:
    """Return the directory with `ohif` and `htmx` in it."""
    own = Path(__file__).parents[4] / "viewer" / "dist"
    return Path(configured) if configured else own if own.is_dir() else _SYSTEM


def resolve(root: Path, name: str) -> Path | None:
    """Return the file of that name below `root`; None for what is not there or not below it."""
    if "\x00" in name or "\\" in name or any(part in {"", ".", ".."} for part in name.split("/")):
        return None
    path = root / name
    return path if path.is_file() and path.resolve().is_relative_to(root.resolve()) else None


def _send(call: "Call", path: Path, cache_control: str) -> Response:
    """Send a file, packed where a packed copy stands beside it and the browser takes it."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    kind = {"text/javascript": "text/javascript; charset=utf-8", "application/wasm": "application/wasm"}.get(kind, kind)
    headers = {"cache-control": cache_control, "vary": "accept-encoding"}
    packed = path.with_name(path.name + ".gz")
    if "gzip" in call.request.headers.get("accept-encoding", "") and packed.is_file():
        return FileResponse(packed, media_type=kind, headers={**headers, "content-encoding": "gzip"})
    return FileResponse(path, media_type=kind, headers=headers)


def static_file(call: "Call") -> Response:
    """Send a file of the console's own look, or htmx. Nothing of a patient is in any of them."""
    name = call.params["name"]
    root = _dist(call.settings.viewer_dir) / "htmx" if name == "htmx.min.js" else _STATIC
    path = resolve(root, name)
    if path is None:
        raise Missing("no such file.")
    return _send(call, path, "private, no-cache" if name != "htmx.min.js" else _HOUR)


def viewer_file(call: "Call") -> Response:
    """Send a file of the viewer; every other path below /viewer is the application's own page."""
    name = call.params.get("name", "")
    root = _dist(call.settings.viewer_dir) / "ohif"
    path = resolve(root, name) if name else None
    if path is not None and path.name not in {"index.html", "app-config.js"}:
        return _send(call, path, _FOREVER if _HASHED.search(path.name) else _HOUR)
    if "." in name.rsplit("/", 1)[-1]:
        raise Missing("no such file.")
    index = root / "index.html"
    if not index.is_file():
        raise Missing("the viewer is not installed. Run: make setup")
    text = _rewritten(index.read_text("utf-8")).replace("<script", f'<script nonce="{call.nonce}"')
    headers = {"content-security-policy": viewer_csp(call.nonce), "cache-control": "no-store"}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


@cache
def _rewritten(text: str) -> str:
    """Return the page for our prefix, without the service worker (nothing of it may work offline) and the icons."""
    text = re.sub(r'<link rel="(?:apple-[^"]*|icon[^"]*|manifest|yandex[^"]*)"[^>]*>', "", text)
    text = re.sub(r"<script[^>]*init-service-worker\.js[^>]*></script>", "", text)
    text = text.replace('PUBLIC_URL="/"', f'PUBLIC_URL="{_PREFIX}"')
    text = re.sub(r'(href|src|content)="/(?!/)', rf'\1="{_PREFIX}', text)
    return text.replace("<title>OHIF Viewer</title>", "<title>Viewer - Leadglass</title>")


def app_config(_: "Call") -> Response:
    """Give the viewer's configuration: our DICOMweb and nothing else; the session is a cookie that no script sees."""
    source = {
        "friendlyName": "Leadglass", "name": "leadglass", "wadoUriRoot": "/dicomweb", "qidoRoot": "/dicomweb",
        "wadoRoot": "/dicomweb", "qidoSupportsIncludeField": True, "supportsReject": False, "dicomUploadEnabled": False,
        "imageRendering": "wadors", "thumbnailRendering": "wadors", "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": True, "supportsWildcard": True, "supportsStow": False,
        "staticWado": False, "singlepart": "bulkdata,pdf,video", "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
    }
    config = {
        "name": "leadglass", "routerBasename": "/viewer", "extensions": [], "modes": [],
        "customizationService": {"ohif.tours": {"$set": []}},
        "showStudyList": False, "maxNumberOfWebWorkers": 2, "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False, "showLoadingIndicator": True, "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True, "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
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
