// SPDX-License-Identifier: GPL-3.0-or-later
// A note is sent once, however often the button is pressed.
document.querySelector("form").addEventListener("submit", (event) => {
  event.target.querySelector("button").disabled = true;
});
