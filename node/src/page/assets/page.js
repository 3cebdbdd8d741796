// What the page does beyond htmx: it says whether it is live, pauses, and keeps what is open, scrolled to
// or has the focus.
"use strict";

(() => {
  const said = document.getElementById("live");
  const pause = document.getElementById("pause");
  const main = document.querySelector("main");
  let paused = false;

  // Facts that are open, and which of them has the focus: updates replace the rows they are in.
  const opened = new Set();
  let focused = null;

  const reopen = () => {
    for (const id of opened) {
      const facts = document.getElementById(id);
      if (facts) facts.open = true;
      else opened.delete(id);
    }
    if (focused) document.getElementById(focused)?.querySelector("summary").focus();
    focused = null;
  };

  // How far tables are scrolled, and which table or link has the focus, likewise.
  let scrolled = [];
  let link = null;

  const leave = (part) => {
    const active = document.activeElement;
    scrolled = [...part.querySelectorAll(".scroll")].map((box) => ({
      label: box.getAttribute("aria-label"),
      top: box.scrollTop,
      left: box.scrollLeft,
      focused: box === active,
    }));
    link = part.contains(active) && active.tagName === "A" ? active.getAttribute("href") : null;
  };

  const restore = (part) => {
    for (const was of scrolled) {
      const box = [...part.querySelectorAll(".scroll")]
        .find((box) => box.getAttribute("aria-label") === was.label);
      if (!box) continue;
      if (was.focused) box.focus({ preventScroll: true });
      box.scrollTo(was.left, was.top);
    }
    if (link) {
      const same = [...part.querySelectorAll("a")].find((a) => a.getAttribute("href") === link);
      same?.focus({ preventScroll: true });
    }
    scrolled = [];
    link = null;
  };

  main.addEventListener("toggle", (event) => {
    if (!event.target.classList.contains("basis")) return;
    if (event.target.open) opened.add(event.target.id);
    else opened.delete(event.target.id);
  }, true);

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
  document.body.addEventListener("htmx:sseMessage", (event) => {
    open();
    restore(event.target);
    reopen();
  });
  // Whoever reads or selects wants the page to stand still.
  main.addEventListener("htmx:sseBeforeMessage", (event) => {
    if (paused) event.preventDefault();
    leave(event.target);
    const summary = document.activeElement?.closest("summary");
    focused = summary ? summary.parentElement.id : null;
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
