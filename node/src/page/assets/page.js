// What the page does beyond htmx: it says whether it is live, and pauses.
"use strict";

(() => {
  const said = document.getElementById("live");
  const pause = document.getElementById("pause");
  const main = document.querySelector("main");
  let paused = false;

  const say = (state, text) => {
    document.body.dataset.live = state;
    said.textContent = text;
  };

  const open = () => {
    if (!paused) say("on", "Live");
  };

  pause.hidden = false;
  say("off", "Connecting");

  document.body.addEventListener("htmx:sseOpen", open);
  document.body.addEventListener("htmx:sseError", () => {
    say("off", "Not live: the node does not answer, or the session is over");
  });
  document.body.addEventListener("htmx:sseMessage", open);
  // Whoever reads or selects wants the page to stand still.
  main.addEventListener("htmx:sseBeforeMessage", (event) => {
    if (paused) event.preventDefault();
  });

  pause.addEventListener("click", () => {
    if (paused) {
      location.reload();
      return;
    }
    paused = true;
    pause.textContent = "Resume";
    say("paused", "Paused");
  });
})();
