// The link's secret stands in the fragment: it is read, wiped from the address bar, and posted once.
import { explain, isPossible, make, post } from "/static/passkey.js";

const opening = document.getElementById("opening");
if (opening) {
  const secret = location.hash.slice(1);
  history.replaceState(null, "", "/enrol");
  const say = (words) => { opening.textContent = words; opening.classList.add("bad"); };
  if (!secret) say("This page needs the whole link, with the part after the #. Please open it again from the message.");
  else post("/enrol/open", { secret }).then((facts) => location.replace(facts.next), (error) => say(error.message));
}

const button = document.getElementById("passkey");
if (button) {
  const say = document.getElementById("passkey-says");
  if (!isPossible()) {
    button.disabled = true;
    say.textContent = "This browser offers no passkeys on this page. Use a password and one-time codes below.";
    say.hidden = false;
  }
  button.addEventListener("click", async () => {
    button.disabled = true;
    say.hidden = true;
    try {
      const { options } = await post("/enrol/passkey/begin");
      const response = await make(options);
      const facts = await post("/enrol/passkey", { response, label: document.getElementById("label").value });
      location.assign(facts.next);
    } catch (error) {
      say.textContent = explain(error);
      say.hidden = false;
      button.disabled = false;
    }
  });
}
