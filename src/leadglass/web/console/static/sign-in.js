import { wire } from "/static/passkey.js";

const button = document.getElementById("passkey");
wire(button, button.dataset.finish, (facts) => location.assign(facts.next));
