// A party's slow show: slide after slide by itself, by keys, by buttons, by swiping.
(() => {
  "use strict";
  const FADE_MS = 1600;
  const AGAIN_MS = 5000; // where the wall is out of reach
  const IDLE_MS = 3000;
  const SWIPE_PX = 40;
  const byId = (id) => document.getElementById(id);
  const slides = byId("slides");
  if (!slides) return;
  let slide = slides.firstElementChild;
  let playing = false;
  let turn;
  let asked = 0;

  const at = () => Number(slide.dataset.at);
  const total = () => Number(slide.dataset.total);
  let wanted = at(); // the slide that is shown, or is on its way
  const fetched = async (place) => {
    const address = new URL(slides.dataset.slides, location.href);
    address.searchParams.set("at", place);
    const response = await fetch(address);
    if (!response.ok) throw new Error(response.statusText);
    const template = document.createElement("template");
    template.innerHTML = await response.text();
    const found = template.content.querySelector(".slide");
    await Promise.all([...found.querySelectorAll("img")].map((image) => image.decode().catch(() => {})));
    return found;
  };

  let due = 0; // when the next slide comes; a slide that is shown anew lasts no longer for it
  const lasts = () => { due = performance.now() + Number(slide.dataset.lasts) * 1000; };
  const wait = () => {
    clearTimeout(turn);
    if (playing) turn = setTimeout(() => show(wanted + 1), Math.max(0, due - performance.now()));
  };
  // `anew`: something of what is shown may have changed, so it must not stay.
  const show = async (place, { anew = false } = {}) => {
    clearTimeout(turn);
    wanted = ((place % total()) + total()) % total();
    const mine = asked += 1;
    let next;
    try {
      next = await fetched(wanted);
    } catch {
      if (mine !== asked) return;
      // What is shown stays, but for what may have been deleted.
      if (anew) slides.replaceChildren();
      turn = setTimeout(() => { if (playing || anew) show(wanted, { anew }); }, AGAIN_MS);
      return;
    }
    if (mine !== asked) return;
    const other = Number(next.dataset.at) !== at();
    if (anew) slides.replaceChildren(next);
    else {
      const before = [...slides.children];
      next.classList.add("coming");
      slides.append(next);
      before.forEach((old) => old.classList.add("going"));
      setTimeout(() => before.forEach((old) => old.remove()), FADE_MS);
    }
    slide = next;
    if (other) lasts();
    byId("place").textContent = `${at() + 1} of ${total()}`;
    const here = new URL(location.href);
    here.searchParams.set("at", at());
    history.replaceState(null, "", here);
    wait();
  };
  const play = (on) => {
    playing = on;
    byId("play").textContent = on ? "Pause" : "Play";
    byId("play").setAttribute("aria-pressed", String(on));
    slides.setAttribute("aria-live", on ? "off" : "polite");
    lasts();
    wait();
  };

  byId("play").hidden = false;
  byId("play").addEventListener("click", () => play(!playing));
  byId("full").hidden = !document.fullscreenEnabled;
  byId("full").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else document.documentElement.requestFullscreen().catch(() => {});
  });
  for (const [id, by] of [["before", -1], ["after", 1]]) {
    byId(id).addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      show(wanted + by);
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (event.key in steps) show(wanted + steps[event.key]);
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(total() - 1);
    else if (event.key === " " && !event.target.closest("a, button")) play(!playing);
    else return;
    event.preventDefault();
  });
  let from = null;
  slides.addEventListener("pointerdown", (event) => { from = event.clientX; });
  slides.addEventListener("pointerup", (event) => {
    const moved = from === null ? 0 : event.clientX - from;
    from = null;
    if (Math.abs(moved) >= SWIPE_PX) show(wanted + (moved < 0 ? 1 : -1));
  });
  slides.addEventListener("pointercancel", () => { from = null; });
  slides.addEventListener("dragstart", (event) => event.preventDefault());

  // A picture that was deleted, or words that were taken away, go at once.
  document.body.addEventListener("htmx:sseBeforeMessage", () => show(wanted, { anew: true }));

  let idle;
  const awake = () => {
    document.body.classList.remove("idle");
    clearTimeout(idle);
    idle = setTimeout(() => document.body.classList.toggle("idle", playing), IDLE_MS);
  };
  for (const kind of ["pointermove", "pointerdown", "keydown"]) document.addEventListener(kind, awake);
  awake();
  const keepOn = () => navigator.wakeLock?.request("screen").catch(() => {});
  document.addEventListener("visibilitychange", () => { if (!document.hidden) keepOn(); });
  keepOn();
  // It begins by itself, but not for who asked their system for less motion.
  if (location.hash === "#play" && !matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
})();
