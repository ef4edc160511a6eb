// Keyboard of tables (/ j k Enter), copy buttons, and the session's end.
const rows = () => [...document.querySelectorAll("tr.opens a.row-link")];

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !isTyping) {
    const field = document.getElementById("q");
    if (field) { event.preventDefault(); field.focus(); field.select(); }
  }
  if (event.key === "Escape" && isTyping) { event.preventDefault(); document.activeElement.blur(); } // what was typed stays
  if ((event.key === "j" || event.key === "k") && !isTyping) {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(document.activeElement);
    all[Math.max(0, Math.min(all.length - 1, at + (event.key === "j" ? 1 : at < 0 ? 1 : -1)))].focus();
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1500);
});

document.querySelectorAll("img[data-optional]").forEach((image) => {
  image.addEventListener("error", () => {
    const words = document.createElement("div");
    words.className = "no-picture";
    words.textContent = "No picture";
    image.replaceWith(words);
  });
});

document.body.addEventListener("htmx:responseError", (event) => {
  const box = document.getElementById("results");
  if (box && event.detail.xhr.status !== 401) box.textContent = "The search did not work. What you typed may not be a date or a name; please change it.";
});
