"""Files for everyone: packed for those who take it, kept for good under a URL that names the bytes, 304 else."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from leadglass.errors import Missing
from leadglass.web.console import static_files, viewer

VERSION = "0123456789abcdef"


def _call(name: str, root: Path | None = None, query: str = "", **headers: str) -> Any:
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "path_params": {"name": name},
             "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]}
    return SimpleNamespace(request=Request(scope), params={"name": name}, nonce="n0",
                           settings=SimpleNamespace(viewer_dir=str(root) if root else ""))


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    ohif = tmp_path / "dist" / "ohif"
    ohif.mkdir(parents=True)
    for name, text in (("a.js", "a" * 3000), ("b.css", "b"), ("w.js", "w"), ("c.wasm", "c")):
        (ohif / name).write_text(text)
    (ohif / "a.js.br").write_bytes(b"brotli")
    (ohif / "a.js.gz").write_bytes(gzip.compress(b"a" * 3000))
    (ohif / "index.html").write_text(
        '<head><script>window.PUBLIC_URL="/"</script><script rel="preload" as="script" src="/app-config.js"></script>'
        '<script rel="preload" type="module" src="/init-service-worker.js"></script><link rel="manifest" href="/manifest.json">'
        '<title>OHIF Viewer</title><script defer src="/app.bundle.1.js"></script><link href="/app.bundle.css" rel="stylesheet"></head>')
    (tmp_path / "dist" / ".lock.sha256").write_text(VERSION + "0" * 48)
    (tmp_path / "dist" / "needed.json").write_text(json.dumps({"preload": ["a.js", "b.css"], "prefetch": ["w.js", "c.wasm"]}))
    return tmp_path / "dist"


@pytest.mark.parametrize(("accepted", "coding"), [
    ("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("gzip;q=0.5", "gzip"), ("", ""), ("brotli", ""), ("x-gzip-not", ""),
])
def test_what_is_packed_goes_out_packed_to_those_who_name_it(dist: Path, accepted: str, coding: str) -> None:
    answer = viewer.viewer_file(_call(f"{VERSION}/a.js", dist, accept_encoding=accepted))
    assert answer.headers.get("content-encoding", "") == coding
    assert answer.headers["vary"] == "accept-encoding"
    assert answer.headers["content-type"].startswith("text/javascript")


def test_only_a_url_of_this_version_is_kept_for_good(dist: Path) -> None:
    assert "immutable" in viewer.viewer_file(_call(f"{VERSION}/a.js", dist)).headers["cache-control"]
    assert viewer.viewer_file(_call("a.js", dist)).headers["cache-control"] == "private, no-cache"
    for other in ("fedcba9876543210/a.js", f"{VERSION}/nothing.js", f"{VERSION}/../.lock.sha256", f"{VERSION}/{VERSION}/a.js"):
        with pytest.raises(Missing):
            viewer.viewer_file(_call(other, dist))


def test_a_new_tree_has_a_new_version_at_once(dist: Path) -> None:
    (dist / ".lock.sha256").write_text("f" * 64)
    with pytest.raises(Missing):
        viewer.viewer_file(_call(f"{VERSION}/a.js", dist))
    assert "immutable" in viewer.viewer_file(_call("ffffffffffffffff/a.js", dist)).headers["cache-control"]


def test_a_copy_that_is_good_is_not_sent_again_and_each_coding_has_its_own_tag(dist: Path) -> None:
    first = viewer.viewer_file(_call("a.js", dist, accept_encoding="br"))
    again = viewer.viewer_file(_call("a.js", dist, accept_encoding="br", if_none_match=first.headers["etag"]))
    assert (again.status_code, bytes(again.body)) == (304, b"")
    assert viewer.viewer_file(_call("a.js", dist, if_none_match=first.headers["etag"])).status_code == 200


def test_the_page_asks_for_what_it_needs_side_by_side_and_for_no_service_worker(dist: Path) -> None:
    answer = viewer.viewer_file(_call("viewer", dist))
    text = bytes(answer.body).decode()
    assert answer.headers["cache-control"] == "no-store"
    assert f'<link rel="preload" href="/viewer/{VERSION}/a.js" as="script">' in text
    assert f'<link rel="preload" href="/viewer/{VERSION}/b.css" as="style">' in text
    assert f'<link rel="prefetch" href="/viewer/{VERSION}/c.wasm" as="fetch" crossorigin>' in text
    assert f'src="/viewer/{VERSION}/app.bundle.1.js"' in text
    assert f'href="/viewer/{VERSION}/app.bundle.css"' in text
    assert 'src="/viewer/app-config.js"' in text  # made on the way out, and of no version
    assert "service-worker" not in text
    assert "manifest" not in text
    assert text.count("<script") == text.count('<script nonce="n0"') == 3


def test_a_tree_from_before_versions_is_still_served(dist: Path) -> None:
    (dist / "needed.json").unlink()
    (dist / ".lock.sha256").unlink()
    text = bytes(viewer.viewer_file(_call("viewer", dist)).body).decode()
    assert "preload" not in text.replace('rel="preload" as="script" src="/viewer/app-config.js"', "")
    assert 'src="/viewer/app.bundle.1.js"' in text


def test_our_own_look_is_immutable_under_the_digest_of_its_bytes_alone() -> None:
    url = static_files.static_url("leadglass.css")
    name, _, query = url.removeprefix("/static/").partition("?")
    named = static_files.static_file(_call(name, query=query, accept_encoding="gzip"))
    assert "immutable" in named.headers["cache-control"]
    assert named.headers["content-encoding"] == "gzip"
    plain = static_files.static_file(_call(name))
    assert plain.headers["cache-control"] == "private, no-cache"
    assert gzip.decompress(bytes(named.body)) == bytes(plain.body)
    assert static_files.static_file(_call(name, query="v=0123456789abcdef")).headers["cache-control"] == "private, no-cache"
    assert static_files.static_file(_call(name, if_none_match=plain.headers["etag"])).status_code == 304
    with pytest.raises(Missing):
        static_files.static_file(_call("../pages.py"))


def test_the_decode_worker_alone_may_make_functions_from_text(dist: Path) -> None:
    worker = viewer.viewer_file(_call(f"{VERSION}/w.js", dist)).headers["content-security-policy"]
    assert "'unsafe-eval'" in worker
    assert "connect-src 'self'" in worker
    assert worker.startswith("default-src 'none'")
    for other in (f"{VERSION}/a.js", f"{VERSION}/c.wasm", "w.js"):  # the shell gives these the viewer's own policy
        assert "content-security-policy" not in viewer.viewer_file(_call(other, dist)).headers
    assert "'unsafe-eval'" not in viewer.viewer_file(_call("viewer", dist)).headers["content-security-policy"]
