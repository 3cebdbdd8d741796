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

  // Decisions that were looked for stand still; everything else is live.
  const still = !main.querySelector(".decisions tbody[sse-swap]");

  // Questions why there is no stream; the answer to one that is no longer the last says nothing.
  let asked = 0;

  const open = () => {
    asked += 1;
    if (!paused) say("on", still ? "Live, but for these decisions" : "Live");
  };

  // An event stream that fails does not tell why: the same address is asked for its head.
  const whyNot = async () => {
    try {
      const answer = await fetch("events", { method: "HEAD" });
      if (answer.status === 401) return "the session is over; run hedgerow dashboard";
      if (answer.status === 503) return "as many pages watch as may; close some, then reload";
      return "connecting again";
    } catch {
      return "the node does not answer";
    }
  };

  pause.hidden = false;
  say("off", "Connecting");

  document.body.addEventListener("htmx:sseOpen", open);
  document.body.addEventListener("htmx:sseError", async () => {
    const question = asked += 1;
    const why = await whyNot();
    if (question === asked && !paused) say("off", `Not live: ${why}`);
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
