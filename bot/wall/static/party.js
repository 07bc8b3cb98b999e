// What a party's pages do beyond htmx and wall.js: the sheet, the timer, speaking, what is new.
(() => {
  "use strict";
  const body = document.body;
  const byId = (id) => document.getElementById(id);
  history.scrollRestoration = "manual"; // the next stage is another page, and begins at its top

  // --- parts that are fetched anew keep what the person had open -----------------------------------
  const folds = new Map();
  body.addEventListener("toggle", (event) => {
    if (event.target.matches?.("details[id]")) folds.set(event.target.id, event.target.open);
  }, true);
  htmx.onLoad((added) => {
    const details = [...added.querySelectorAll("details[id]")];
    if (added.matches("details[id]")) details.push(added);
    for (const fold of details) if (folds.has(fold.id)) fold.open = folds.get(fold.id);
    tick();
    listen(added);
    bound();
    begin();
  });
  // An arrival is shown once. What is kept from the page before may be put in again.
  body.addEventListener("animationend", (event) => event.target.classList.remove("fresh"));

  // --- forms ---------------------------------------------------------------------------------------
  body.addEventListener("htmx:afterRequest", (event) => {
    const form = event.detail.elt;
    if (form.tagName !== "FORM" || !event.detail.successful) return;
    if (form.hasAttribute("data-clear")) {
      const kind = form.elements.namedItem("kind")?.value;
      form.reset();
      for (const box of document.querySelectorAll(`input[form="${form.id}"]`)) box.checked = false;
      const again = form.querySelector(`[name=kind][value="${kind}"]`);
      if (again) again.checked = true;
      if (matchMedia("(hover: hover)").matches) form.querySelector("input")?.focus();
    }
    if (form.hasAttribute("data-closes")) byId("sheet")?.close();
  });
  // Where an answer would take a part's place, a sentence about what went wrong is a notice instead.
  body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status >= 400 && event.detail.target.id !== "notice") {
      event.detail.target = byId("notice");
      event.detail.swapOverride = "innerHTML";
    }
  });
  // Votes choose for the finale, until whoever leads does. It takes so many at once.
  const bound = () => {
    const finalists = byId("finalists");
    if (!finalists) return;
    const full = finalists.querySelectorAll(":checked").length >= Number(finalists.dataset.most);
    finalists.querySelectorAll("input:not(:checked)").forEach((box) => { box.disabled = full; });
  };
  body.addEventListener("change", (event) => {
    const finalists = event.target.closest("#finalists");
    if (finalists) { finalists.dataset.touched = "1"; bound(); }
  });
  body.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt.dataset.touched) event.preventDefault();
  });
  let noticed;
  body.addEventListener("htmx:afterSwap", (event) => {
    if (event.target.id === "notice") {
      clearTimeout(noticed);
      noticed = setTimeout(() => byId("notice").replaceChildren(), 9000);
    } else if (event.target.id === "sheet-body" && !byId("sheet").open) {
      byId("sheet").showModal();
    }
  });
  // A sentence must not lie under the sheet that it is about.
  const sheet = byId("sheet");
  sheet?.addEventListener("click", (event) => { if (event.target === sheet) sheet.close(); });
  sheet?.addEventListener("close", () => byId("sheet-body").replaceChildren());
  body.addEventListener("htmx:beforeRequest", () => {
    const notice = byId("notice");
    if (sheet) (sheet.open ? sheet : body).append(notice);
  });
  body.addEventListener("click", (event) => {
    const words = event.target.closest("[data-words]");
    if (!words) return;
    const field = byId(words.dataset.into);
    field.value = [field.value.trim(), words.dataset.words].filter(Boolean).join(", ");
    field.focus();
  });

  // wall.js turns through two pictures or more; the first one, and a better one in its place, are
  // the page's own.
  let turned = ""; // from which it was told to turn
  const begin = () => {
    const hero = byId("hero");
    if (!hero) return;
    const large = [...document.querySelectorAll("#finished .tile")].map((tile) => tile.dataset.full);
    const shown = [...hero.querySelectorAll("img")].map((image) => image.getAttribute("src"));
    if (!large.length) {
      hero.querySelectorAll("figure").forEach((figure) => figure.remove());
    } else if (!shown.length || (large.length === 1 && !shown.includes(large[0]))) {
      location.reload();
    } else if (!shown.some((one) => large.includes(one)) && turned !== shown.join()) {
      turned = shown.join(); // it was deleted, or there is a better one
      htmx.trigger(hero, "turn");
    }
  };

  // --- the timer -----------------------------------------------------------------------------------
  // By this machine's clock: a projector that is a minute off shows a minute more or less.
  const tick = () => {
    for (const timer of document.querySelectorAll(".timer[data-minutes]")) {
      const minutes = Number(timer.dataset.minutes);
      if (!minutes) continue;
      const passed = (Date.now() - Number(timer.dataset.began)) / 60000;
      const bar = timer.querySelector("progress");
      bar.value = Math.max(0, Math.min(1, passed / minutes));
      timer.classList.toggle("due", passed >= minutes);
      const left = timer.querySelector("[data-left]");
      if (!left) continue;
      const rest = Math.ceil(minutes - passed);
      left.textContent = passed >= minutes
        ? `${minutes} minutes have passed. Move on when you like.`
        : rest <= 1 ? "less than a minute left" : `${rest} minutes left`;
    }
  };
  setInterval(tick, 5000);
  tick();

  // --- speaking --------------------------------------------------------------------------------------
  const Recognition = window.SpeechRecognition ?? window.webkitSpeechRecognition;
  function listen(added) {
    if (!Recognition || !isSecureContext) return;
    for (const button of added.querySelectorAll("[data-speak]")) {
      if (!button.hidden) continue;
      button.hidden = false;
      const note = button.form.querySelector(".hears");
      let hearing = null;
      button.addEventListener("click", () => {
        if (hearing) { hearing.stop(); return; }
        hearing = new Recognition();
        hearing.lang = navigator.language;
        hearing.interimResults = true;
        hearing.addEventListener("result", (event) => {
          byId(button.dataset.speak).value = [...event.results].map((one) => one[0].transcript).join("").slice(0, 120);
        });
        hearing.addEventListener("end", () => {
          hearing = null;
          button.classList.remove("hearing");
          byId(button.dataset.speak).focus();
        });
        note.hidden = false;
        button.classList.add("hearing");
        hearing.start();
      });
    }
  }
  listen(body);

  // --- the big screen --------------------------------------------------------------------------------
  const full = byId("fullscreen");
  if (full && !byId("hero")) {
    full.addEventListener("click", () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else document.documentElement.requestFullscreen().catch(() => {});
    });
  }
  if (full) {
    let idle;
    const awake = () => {
      body.classList.remove("idle");
      clearTimeout(idle);
      idle = setTimeout(() => body.classList.add("idle"), 3000);
    };
    for (const kind of ["pointermove", "keydown"]) document.addEventListener(kind, awake);
    awake();
    const keepOn = () => navigator.wakeLock?.request("screen").catch(() => {});
    document.addEventListener("visibilitychange", () => { if (!document.hidden) keepOn(); });
    keepOn();
  }
})();
