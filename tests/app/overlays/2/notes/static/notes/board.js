// SPDX-License-Identifier: GPL-3.0-or-later
// A note is sent once, however often the button is pressed; the form takes on the chosen mood.
const form = document.querySelector("form");

form.addEventListener("submit", (event) => {
  event.target.querySelector("button").disabled = true;
});

form.querySelector("select").addEventListener("change", (event) => {
  form.className = event.target.value;
});
