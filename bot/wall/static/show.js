// Going through the pictures of a day, or the best: by the slider, keys, swiping, or by itself.
(() => {
  "use strict";
  const SHOW_MS = 9000;
  const SETTLE_MS = 220; // A slider that is dragged shows small pictures; one that rests, whole ones.
  const KEPT_PARTS = 6;
  const SWIPE_PX = 40;
  const byId = (id) => document.getElementById(id);
  const stage = byId("stage");
  const scrub = byId("scrub");
  if (!scrub) return;

  const size = Number(stage.dataset.part);
  let total = Number(stage.dataset.total);
  let at = Number(scrub.value);
  let settling;
  let turn;
  let playing = false;
  let asked = 0; // of what is shown, the newest counts
  let coming = false; // it is on its way

  const parts = new Map();
  const partOf = (number) => {
    let part = parts.get(number);
    if (part) return part;
    const address = new URL(stage.dataset.parts, location.href);
    address.searchParams.set("from", number * size);
    part = fetch(address).then((response) => {
      if (!response.ok) throw new Error(response.statusText);
      return response.json();
    }).then((found) => {
      total = found.total;
      scrub.max = Math.max(0, total - 1);
      return found.pictures;
    });
    part.catch(() => { if (parts.get(number) === part) parts.delete(number); });
    parts.set(number, part);
    if (parts.size > KEPT_PARTS) parts.delete(parts.keys().next().value);
    return part;
  };
  const pictureAt = async (index) => (await partOf(Math.floor(index / size)))[index % size];

  const lineOf = (name, className, text) => {
    const line = document.createElement(name);
    line.className = className;
    line.textContent = text;
    return line;
  };

  const put = (told, small) => {
    const figure = document.createElement("figure");
    const image = new Image();
    const caption = document.createElement("figcaption");
    const prompt = lineOf("a", "prompt", told.prompt);
    prompt.href = `/d/${told.id}`;
    caption.append(prompt, lineOf("span", "who", `${told.who} · ${told.when}`));
    if (told.of_id) {
      const origin = lineOf("a", "who", `${told.became} of “${told.of}”`);
      origin.href = `/d/${told.of_id}`;
      caption.append(origin);
    }
    image.alt = told.prompt;
    image.src = small ? told.small : told.picture;
    figure.append(image, caption);
    const mine = asked;
    return image.decode().catch(() => {}).then(() => {
      if (mine !== asked) return;
      const before = stage.querySelectorAll("figure");
      stage.append(figure);
      if (small) {
        figure.classList.add("shown", "still");
        before.forEach((old) => old.remove());
        return;
      }
      requestAnimationFrame(() => requestAnimationFrame(() => figure.classList.add("shown")));
      setTimeout(() => before.forEach((old) => old.remove()), 1800);
    });
  };

  const show = async (index, { dragging = false } = {}) => {
    at = Math.max(0, Math.min(index, total - 1));
    scrub.value = at;
    byId("place").textContent = `${at + 1} of ${total}`;
    document.querySelectorAll("#around .tile").forEach((tile) => {
      if (Number(tile.dataset.at) === at) tile.setAttribute("aria-current", "true");
      else tile.removeAttribute("aria-current");
    });
    clearTimeout(settling);
    clearTimeout(turn);
    const wanted = at;
    const mine = asked += 1;
    coming = true;
    try {
      const told = await pictureAt(wanted);
      if (mine !== asked) return;
      if (!told) { // there are fewer by now
        if (total && wanted >= total) { show(total - 1, { dragging }); return; }
        if (!total) byId("place").textContent = "0 of 0";
        return;
      }
      byId("place").textContent = `${at + 1} of ${total}`;
      if (dragging) {
        settling = setTimeout(() => show(wanted), SETTLE_MS);
        await put(told, true);
        return;
      }
      await put(told, false);
      if (mine !== asked) return;
      const here = new URL(location.href);
      here.searchParams.set("at", wanted);
      history.replaceState(null, "", here);
      if (byId("heart")) htmx.ajax("GET", `/d/${told.id}/heart`, { target: "#liking", swap: "innerHTML" });
      pictureAt((wanted + 1) % total).then((next) => { if (next) new Image().src = next.picture; });
    } catch {
      // Out of reach: what is shown stays, and a show tries again.
    } finally {
      if (mine === asked) coming = false;
    }
    if (playing && mine === asked) turn = setTimeout(() => show((at + 1) % total), SHOW_MS);
  };

  // What was deleted goes at once: what is shown of it, what is around, and what is yet to come.
  const gone = (id) => {
    parts.clear();
    const around = [...document.querySelectorAll("#around .tile")];
    const tile = around.find((one) => one.dataset.id === id);
    if (tile) {
      for (const later of around.slice(around.indexOf(tile) + 1)) {
        later.dataset.at -= 1;
        const address = new URL(later.href);
        address.searchParams.set("at", later.dataset.at);
        later.href = address;
      }
      tile.remove();
    }
    const told = `a[href="/d/${CSS.escape(id)}"]`; // as itself, or as what another came of
    const figures = [...stage.querySelectorAll("figure")].filter((one) => one.querySelector(told));
    figures.forEach((figure) => figure.remove());
    if (figures.length || coming) show(at);
  };
  document.body.addEventListener("htmx:sseBeforeMessage", ({ detail: { type, data } }) => {
    const id = type === "deleted" && /\bid="dream-([^"]+)"/.exec(data)?.[1];
    if (id) gone(id);
  });
  // What happens meanwhile is not heard of: it may have been a deletion, or be private by now.
  document.body.addEventListener("htmx:sseError", () => parts.clear());

  const step = (by) => show(at + by);
  const play = (on) => {
    playing = on;
    byId("play").textContent = on ? "Pause" : "Play";
    byId("play").setAttribute("aria-pressed", String(on));
    clearTimeout(turn);
    if (on) turn = setTimeout(() => show((at + 1) % total), SHOW_MS / 3);
  };

  scrub.addEventListener("input", () => show(Number(scrub.value), { dragging: true }));
  scrub.form.addEventListener("submit", (event) => event.preventDefault());
  byId("before").addEventListener("click", () => step(-1));
  byId("after").addEventListener("click", () => step(1));
  byId("play").addEventListener("click", () => play(!playing));
  byId("full").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else stage.requestFullscreen().catch(() => {});
  });
  byId("play").hidden = false;
  byId("full").hidden = !document.fullscreenEnabled;
  byId("around").addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(Number(tile.dataset.at));
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, button, textarea, select")) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (event.key in steps) step(steps[event.key]);
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(total - 1);
    else if (event.key === " " && !event.target.closest("a")) play(!playing);
    else return;
    event.preventDefault();
  });
  let from = null;
  stage.addEventListener("pointerdown", (event) => { from = event.clientX; });
  stage.addEventListener("pointerup", (event) => {
    const moved = from === null ? 0 : event.clientX - from;
    from = null;
    if (Math.abs(moved) >= SWIPE_PX) step(moved < 0 ? 1 : -1);
  });
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  stage.addEventListener("pointercancel", () => { from = null; });
})();
