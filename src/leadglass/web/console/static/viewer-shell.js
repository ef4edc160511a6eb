// Our page around the viewer: the idle clock, the lock, and one touch back to the same slice.
import { csrf, post, wire } from "/static/passkey.js";

const frame = document.getElementById("viewer");
const veil = document.getElementById("veil");
const clock = document.getElementById("clock");
const idleSeconds = Number(document.body.dataset.idle);
let lastUse = Date.now();
let lastTold = Date.now();
let isLocked = false;

function used() { lastUse = Date.now(); }

function watch(target) {
  for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"]) target.addEventListener(kind, used, { passive: true, capture: true });
}

function veilDown() {
  isLocked = true;
  frame.style.visibility = "hidden";
  frame.inert = true;
  veil.hidden = false;
  document.getElementById("passkey").focus();
}

function veilUp() {
  isLocked = false;
  veil.hidden = true;
  frame.inert = false;
  frame.style.visibility = "";
  used();
  lastTold = Date.now();
  frame.focus();
}

async function lock() {
  veilDown(); // first hide, then tell; and tell until it is heard: a reload must not show what was locked
  while (isLocked) {
    try { await post("/lock"); return; } catch { await new Promise((done) => { setTimeout(done, 2000); }); }
  }
}

document.getElementById("lock").addEventListener("click", lock);
wire(document.getElementById("passkey"), "/unlock/passkey", veilUp);

document.getElementById("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  const says = document.getElementById("unlock-says");
  says.hidden = true;
  const answer = await fetch("/unlock", {
    method: "POST", credentials: "same-origin", body: new URLSearchParams(new FormData(event.target)),
    headers: { accept: "application/json", "x-csrf-token": csrf() },
  });
  if (answer.ok) { event.target.reset(); veilUp(); return; }
  says.textContent = "Password or code is wrong, or the session has ended. Try again, or sign in anew.";
  says.hidden = false;
});

frame.addEventListener("load", () => { watch(frame.contentWindow); });
watch(window);

setInterval(async () => {
  if (isLocked) return;
  const left = idleSeconds - (Date.now() - lastUse) / 1000;
  if (left <= 0) { await lock(); return; }
  const minutes = Math.ceil(left / 60);
  clock.textContent = left > 120 ? "" : `Locks in ${left > 60 ? `${minutes} min` : `${Math.ceil(left)} s`}`;
  if (lastUse > lastTold && Date.now() - lastTold > 60000) {
    lastTold = Date.now();
    const answer = await fetch("/session", { credentials: "same-origin", cache: "no-store", redirect: "manual" });
    if (!answer.ok) veilDown();
  }
}, 1000);
