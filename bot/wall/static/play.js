// What games' pages do beyond htmx and wall.js: the time that is left, and which entry is one's own.
(() => {
  "use strict";
  const body = document.body;

  const timer = document.querySelector(".timer[data-left]");
  if (timer) {
    // Of the time that was left when the page was made: clocks differ.
    const ends = performance.now() + Number(timer.dataset.left);
    const two = (number) => String(number).padStart(2, "0");
    const tick = () => {
      const left = Math.max(0, Math.ceil((ends - performance.now()) / 1000));
      const hours = Math.floor(left / 3600);
      const minutes = Math.floor(left / 60) % 60;
      timer.textContent = left === 0 ? "Time is up: counting…"
        : hours ? `${hours}:${two(minutes)}:${two(left % 60)}` : `${minutes}:${two(left % 60)}`;
      timer.classList.toggle("soon", left > 0 && left <= 30);
      if (left > 0) setTimeout(tick, 1000 - ((performance.now() - ends) % 1000 + 1000) % 1000);
    };
    tick();
  }

  htmx.onLoad((added) => {
    for (const entry of added.querySelectorAll("[data-by]")) {
      entry.classList.toggle("own", body.dataset.me.split(" ").includes(entry.dataset.by));
    }
  });

  // Where an answer would take a part's place, a sentence about what went wrong is a notice instead.
  body.addEventListener("htmx:beforeSwap", (event) => {
    const notice = document.getElementById("notice");
    if (event.detail.xhr.status >= 400 && event.detail.target !== notice) {
      event.detail.target = notice;
      event.detail.swapOverride = "innerHTML";
    } else if (event.detail.target.id === "mine") {
      notice.replaceChildren();
    }
  });
  body.addEventListener("htmx:afterSwap", (event) => {
    if (["mine", "notice"].includes(event.target.id)) {
      event.target.scrollIntoView({ block: "nearest", behavior: "smooth" });
    }
  });
})();
