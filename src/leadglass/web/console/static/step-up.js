// A passkey proves the person anew; then the form goes to where it was going, without a password in it.
import { wire } from "/static/passkey.js";

const button = document.getElementById("passkey");
wire(button, button.dataset.finish, () => {
  const form = document.getElementById("again");
  form.querySelectorAll("input[name^='proof-']").forEach((field) => { field.disabled = true; });
  form.submit();
});
