// The quality mark: what the reader is looking at. Read from the viewer's own image cache, not from what we asked for:
// an image counts when it is there in full; what failed, and what lies outside the even spacing of a series, is said.
const FULL = 8; // cornerstone's ImageQualityStatus.FULL_RESOLUTION
const LOSSY = new Set(["50", "51", "81", "91", "93", "112", "203"].map((n) => `1.2.840.10008.1.2.4.${n}`));
const frame = document.getElementById("viewer");
const mark = document.getElementById("quality");
const said = document.getElementById("quality-said");
const failed = new Set();
let listening = null;
const gaps = new WeakMap();

function listen(cs) {
  if (listening === cs) return;
  listening = cs;
  failed.clear();
  cs.eventTarget.addEventListener(cs.EVENTS.IMAGE_LOAD_FAILED, (event) => { if (event.detail?.imageId) failed.add(event.detail.imageId); });
  cs.eventTarget.addEventListener(cs.EVENTS.IMAGE_LOADED, (event) => { failed.delete(event.detail?.image?.imageId); });
}

// How many slices an evenly spaced series lacks between its first and its last.
function gapsOf(cs, ids) {
  if (gaps.has(ids)) return gaps.get(ids);
  let count = 0;
  const planes = ids.map((id) => cs.metaData.get("imagePlaneModule", id));
  const first = planes[0];
  if (ids.length > 3 && planes.every((p) => p?.imagePositionPatient && p.frameOfReferenceUID === first.frameOfReferenceUID) && first.rowCosines) {
    const [r, c] = [first.rowCosines, first.columnCosines];
    const normal = [r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0]];
    const along = planes.map((p) => p.imagePositionPatient.reduce((sum, v, i) => sum + v * normal[i], 0)).sort((a, b) => a - b);
    const steps = along.slice(1).map((v, i) => v - along[i]);
    const usual = [...steps].sort((a, b) => a - b)[steps.length >> 1];
    if (usual > 0.01) count = steps.reduce((sum, step) => sum + Math.max(0, Math.round(step / usual) - 1), 0);
  }
  gaps.set(ids, count);
  return count;
}

function look() {
  const inside = frame.contentWindow;
  const cs = inside?.cornerstone;
  const grid = inside?.services?.viewportGridService;
  if (!cs || !grid) return { tone: "busy", text: "Opening" };
  listen(cs);
  const wanted = grid.getActiveViewportId();
  const viewports = cs.getRenderingEngines().flatMap((engine) => engine.getViewports());
  const viewport = viewports.find((one) => one.id === wanted) ?? viewports[0];
  const ids = viewport?.getImageIds?.() ?? [];
  if (!ids.length) return { tone: "busy", text: "Opening" };
  const whole = ids.filter((id) => cs.cache.isLoaded(id) && (cs.cache.getImageQuality(id) ?? FULL) >= FULL).length;
  const lost = ids.filter((id) => failed.has(id) && !cs.cache.isLoaded(id)).length;
  const between = gapsOf(cs, ids);
  const missing = [lost ? `${lost} of ${ids.length} not loaded` : "", between ? `${between} missing in the series` : ""].filter(Boolean).join(", ");
  const shown = viewport.getCurrentImageId?.();
  const isPart = shown && cs.cache.isLoaded(shown) && (cs.cache.getImageQuality(shown) ?? FULL) < FULL;
  if (isPart) return { tone: "warn", text: `Preview (lossy), loading ${whole}/${ids.length}`, state: "Preview, lossy", missing };
  if (whole + lost < ids.length) return { tone: "busy", text: `Loading ${whole}/${ids.length}`, state: "Loading", missing };
  const isLossy = ids.some((id) => {
    const instance = cs.metaData.get("instance", id);
    return String(instance?.LossyImageCompression ?? "") === "01" || LOSSY.has(String(instance?.AvailableTransferSyntaxUID ?? ""));
  });
  if (lost) return { tone: "bad", text: `Incomplete: ${whole}/${ids.length}`, state: "Incomplete", missing };
  return { tone: between ? "bad" : isLossy ? "warn" : "good", text: isLossy ? "Complete, stored with loss" : "Complete and lossless", missing };
}

function show() {
  let found;
  try { found = look(); } catch { found = { tone: "warn", text: "Quality not known" }; } // never a promise that nobody checked
  const tone = found.missing ? "bad" : found.tone;
  const text = found.missing ? `${found.text} · ${found.missing}` : found.text;
  if (mark.textContent !== text) mark.textContent = text;
  mark.dataset.tone = tone;
  const state = [found.state ?? found.text, found.missing].filter(Boolean).join(", ");
  if (said.textContent !== state) said.textContent = state; // counts are not read aloud, changes of state are
}

setInterval(show, 400);
show();
