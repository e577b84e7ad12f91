// Looks every few seconds whether the dataset has arrived, and shows the page as soon as it has.
"use strict";

const INTERVAL = 3000;
const waiting = document.getElementById("waiting");
waiting.textContent = "or wait: this page looks for itself every 3 seconds.";

async function look() {
  try {
    const response = await fetch(location.href, { method: "HEAD", cache: "no-store" });
    if (response.status !== 503) {
      location.reload();
      return;
    }
  } catch {
    // The server is being restarted: look again.
  }
  setTimeout(look, INTERVAL);
}

setTimeout(look, INTERVAL);
