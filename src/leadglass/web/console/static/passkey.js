// Passkeys and JSON posts: what every page with a passkey button shares.
export const csrf = () => document.querySelector('meta[name="csrf"]').content;

export async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", credentials: "same-origin", cache: "no-store",
    headers: { "content-type": "application/json", accept: "application/json", "x-csrf-token": csrf() },
    body: JSON.stringify(body ?? {}),
  });
  let facts = {};
  try { facts = await answer.json(); } catch { /* an empty answer says enough */ }
  if (!answer.ok) throw new Error(facts.error ?? facts.detail ?? "This did not work. Please load the page again.");
  return facts;
}

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

export const isPossible = () => window.isSecureContext && "credentials" in navigator && "PublicKeyCredential" in window;

// Browsers refuse passkeys on a page with a certificate warning, and say so only in the error's name.
export function explain(error) {
  if (error.name === "NotAllowedError") return "The passkey was not used: it was cancelled, or took too long. Please try again.";
  if (error.name === "SecurityError") return "This browser does not trust this page, so passkeys are off. Run “leadglass trust” on this machine, or use one-time codes meanwhile.";
  if (error.name === "InvalidStateError") return "This device has a passkey for this account already.";
  return error.message;
}

export async function use(options) {
  const found = await navigator.credentials.get({ publicKey: { ...options, challenge: bytes(options.challenge), allowCredentials: [] } });
  return {
    id: found.id, rawId: text(found.rawId), type: found.type, clientExtensionResults: {},
    response: {
      clientDataJSON: text(found.response.clientDataJSON), authenticatorData: text(found.response.authenticatorData),
      signature: text(found.response.signature), userHandle: found.response.userHandle ? text(found.response.userHandle) : null,
    },
  };
}

export async function make(options) {
  const made = await navigator.credentials.create({
    publicKey: {
      ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: (options.excludeCredentials ?? []).map((c) => ({ ...c, id: bytes(c.id) })),
    },
  });
  return {
    id: made.id, rawId: text(made.rawId), type: made.type, clientExtensionResults: {},
    response: {
      clientDataJSON: text(made.response.clientDataJSON), attestationObject: text(made.response.attestationObject),
      transports: made.response.getTransports?.() ?? [],
    },
  };
}

// A button that proves the person by a passkey: begin, use, finish, go on.
export function wire(button, finishPath, done) {
  const say = document.getElementById("passkey-says");
  if (!isPossible()) {
    button.disabled = true;
    say.textContent = "This browser offers no passkeys here. Use a one-time code instead.";
    say.hidden = false;
    return;
  }
  button.addEventListener("click", async () => {
    button.disabled = true;
    say.hidden = true;
    try {
      const { options, state } = await post("/sign-in/passkey/begin");
      done(await post(finishPath, { state, response: await use(options) }));
    } catch (error) {
      say.textContent = explain(error);
      say.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
}
