// What the pages do beyond htmx. Without it they still show and take prompts; they only stand still.
(() => {
  "use strict";
  const KEPT_ON_SCREEN = 48;
  const SHOW_MS = 14000;
  const AGAIN_MS = 5000; // after a picture that did not come
  const body = document.body;
  const byId = (id) => document.getElementById(id);

  // --- the event stream -----------------------------------------------------------------------
  // A source that is made anew goes on after the last entry that any source before it had.
  let lastId = null;
  const sources = new Set();
  htmx.createEventSource = (url) => {
    const address = new URL(url, location.href);
    if (lastId !== null) {
      address.searchParams.set("after", lastId);
      address.searchParams.set("again", "1");
    }
    const source = new EventSource(address);
    const remember = (event) => { if (event.lastEventId) lastId = event.lastEventId; };
    for (const kind of ["asked", "steered", "done", "failed", "cancelled", "deleted", "theme"]) {
      source.addEventListener(kind, remember);
    }
    source.addEventListener("reload", () => location.reload());
    sources.forEach((old) => { if (old.readyState === EventSource.CLOSED) sources.delete(old); });
    sources.add(source);
    return source;
  };

  // A browser allows few connections to one server: pages in the background give theirs up.
  let hiddenSince;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiddenSince);
    if (document.hidden) {
      hiddenSince = setTimeout(() => sources.forEach((source) => source.close()), 30000);
    } else {
      sources.forEach((source) => {
        if (source.readyState === EventSource.CLOSED) source.onerror(new Event("error"));
      });
    }
  });

  let offline = null;
  body.addEventListener("htmx:sseError", () => {
    offline ??= setTimeout(() => body.classList.add("offline"), 2500);
  });
  body.addEventListener("htmx:sseOpen", () => {
    clearTimeout(offline);
    offline = null;
    body.classList.remove("offline");
  });

  // --- who is to wait -----------------------------------------------------------------------------
  // What fetches by itself is told nothing in a sentence: that would take the place of what asks, for
  // good. It stays as it is and asks again, when it was told to, and not in step with the others in a
  // room that were told so in the same second.
  const BUSY = [429, 502, 503, 504];
  const PATIENCE_S = 10; // of a person, who is told in the end
  const MOST_TRIES = 3; // of theirs
  const waiting = new Map(); // what asks → its timer
  const tries = new WeakMap();
  const askAgain = ({ elt, requestConfig }, told) => {
    const tried = tries.get(elt) ?? 0;
    const spread = 2 ** Math.min(tried + 1, 4);
    tries.set(elt, tried + 1);
    clearTimeout(waiting.get(elt));
    waiting.set(elt, setTimeout(() => {
      waiting.delete(elt);
      if (!elt.isConnected) return;
      const again = { source: elt, event: requestConfig.triggeringEvent };
      htmx.ajax("GET", elt.getAttribute("hx-get"), again).catch(() => {}); // which comes here once more
    }, 1000 * ((told || spread) + spread * Math.random())));
  };
  const isByHand = ({ triggeringEvent }) => triggeringEvent?.isTrusted ?? false;
  body.addEventListener("htmx:beforeOnLoad", (event) => {
    const { elt, requestConfig, xhr } = event.detail;
    if (requestConfig.verb !== "get" || !elt.hasAttribute("hx-get")) return;
    const told = Number(xhr.getResponseHeader("Retry-After")) || 0;
    const patient = !isByHand(requestConfig)
      || (told > 0 && told <= PATIENCE_S && (tries.get(elt) ?? 0) < MOST_TRIES);
    if (BUSY.includes(xhr.status) && patient) {
      event.preventDefault();
      askAgain(event.detail, told);
    } else {
      tries.delete(elt);
    }
  });
  body.addEventListener("htmx:sendError", (event) => {
    const { elt, requestConfig } = event.detail;
    if (requestConfig.verb === "get" && elt.hasAttribute("hx-get") && !isByHand(requestConfig)) {
      tries.delete(elt); // nobody is there to be spared
      askAgain(event.detail, 0);
    }
  });
  // Until then it does not ask, whatever happens; but what a person does now takes its place.
  body.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, requestConfig } = event.detail;
    if (!waiting.has(elt)) return;
    if (!isByHand(requestConfig)) { event.preventDefault(); return; }
    clearTimeout(waiting.get(elt));
    waiting.delete(elt);
    tries.delete(elt);
  });

  // What is shown of a dream besides its card or tile: its own page, and the big screen.
  const deleted = (id) => {
    if (!id) return;
    if (byId("whole")?.dataset.dream === id) location.reload();
    document.querySelectorAll(`[data-found="${CSS.escape(id)}"]`).forEach((tile) => tile.remove());
    for (const image of document.querySelectorAll(`#hero img[src$="?d=${CSS.escape(id)}"]`)) {
      image.closest("figure").remove();
      next();
    }
  };

  // An entry may come twice, or be in the page already. What it is about is its first id.
  body.addEventListener("htmx:sseBeforeMessage", (event) => {
    const { type, data } = event.detail;
    const there = byId(/\bid="([^"]+)"/.exec(data)?.[1] ?? "");
    if (type === "asked") {
      if (there || !data) event.preventDefault();
    } else if (type === "done") {
      if (there?.classList.contains("tile")) event.preventDefault();
      else there?.remove();
    } else if (type === "deleted") {
      deleted(/\bid="dream-([^"]+)"/.exec(data)?.[1]);
      if (!there) event.preventDefault();
    } else if (!there) {
      event.preventDefault();
    }
  });

  // --- previews: the new one fades in over the old one, which then goes --------------------------
  const settle = (frame) => {
    const previews = frame.querySelectorAll(".preview");
    const newest = previews[previews.length - 1];
    const clear = () => setTimeout(() => previews.forEach((old) => {
      if (old !== newest) old.remove();
    }), 900);
    if (newest.complete) clear(); else newest.addEventListener("load", clear, { once: true });
    newest.addEventListener("error", () => newest.remove(), { once: true });
  };

  // A picture that did not come, as while the bot is restarted, is asked for again for a minute. Parts
  // that are fetched anew keep the pictures that are there already, so nothing else would.
  body.addEventListener("error", ({ target: image }) => {
    const tries = Number(image.dataset.tries ?? 0);
    if (image.tagName !== "IMG" || image.classList.contains("preview") || tries === 6) return;
    image.dataset.tries = tries + 1;
    setTimeout(() => { if (image.isConnected) image.src = image.src; }, 1000 * 2 ** tries);
  }, true);

  htmx.onLoad((added) => {
    if (added.classList.contains("preview")) settle(added.parentElement);
    const cards = added.matches(".card") ? [added] : added.querySelectorAll(".card");
    for (const card of cards) {
      const own = card.querySelector(".own");
      if (own) own.hidden = !body.dataset.me.split(" ").includes(card.dataset.by);
    }
    if (added.matches(".tile")) arrived(added);
  });

  // --- the prompt box ---------------------------------------------------------------------------
  const prompt = byId("prompt");
  prompt?.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      prompt.form.requestSubmit();
    }
  });
  // It may take a while, and be typed on meanwhile: only what was sent is taken away.
  let sent = "";
  byId("ask")?.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt === prompt.form) sent = prompt.value;
  });
  byId("ask")?.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt !== prompt.form || event.detail.xhr.status === 0) return;
    if (event.detail.xhr.status < 400) {
      if (prompt.value === sent) prompt.value = "";
      const start = prompt.form.elements.namedItem("init");
      if (start) start.value = "";
      prompt.form.elements.namedItem("parent")?.remove();
    }
    prompt.focus({ preventScroll: true });
  });
  body.addEventListener("htmx:sendError", (event) => {
    const notice = byId("notice");
    if (!notice || event.detail.elt.tagName !== "FORM") return;
    const said = document.createElement("p");
    said.className = "notice";
    said.setAttribute("role", "alert");
    said.textContent = "The wall cannot be reached. What you typed is still here; try again.";
    notice.replaceChildren(said);
  });

  // --- the recipe ---------------------------------------------------------------------------------
  body.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = byId(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Only secure pages have a clipboard of their own; a wall in the room is plain http.
      const field = document.createElement("textarea");
      field.value = text;
      body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  // --- the big screen -----------------------------------------------------------------------------
  const hero = byId("hero");
  let turn;
  let at = 0;

  const show = (tile) => {
    const figure = document.createElement("figure");
    const image = new Image();
    const caption = document.createElement("figcaption");
    for (const [name, text] of [
      ["prompt", tile.querySelector("img").alt], ["who", tile.dataset.who],
    ]) {
      const line = document.createElement("span");
      line.className = name;
      line.textContent = text;
      caption.append(line);
    }
    image.alt = tile.querySelector("img").alt;
    image.src = tile.dataset.full;
    figure.append(image, caption);
    const enter = () => {
      if (!tile.isConnected) { next(); return; }  // deleted while it was being decoded
      const before = hero.querySelectorAll("figure");
      hero.append(figure);
      requestAnimationFrame(() => requestAnimationFrame(() => {
        figure.classList.add("shown");
        before.forEach((old) => old.classList.remove("shown"));
      }));
      setTimeout(() => before.forEach((old) => old.remove()), 2000);
      clearTimeout(turn);
      turn = setTimeout(next, SHOW_MS);
    };
    image.decode().then(enter, () => {
      if (!tile.isConnected) { next(); return; }
      clearTimeout(turn); // out of reach: to ask for one after the other at once would not help
      turn = setTimeout(next, AGAIN_MS);
    });
  };

  const next = () => {
    clearTimeout(turn);
    const tiles = document.querySelectorAll("#finished .tile img");
    const few = hero.querySelector("figure") ? 2 : 1; // the only one is shown already, or is not
    if (tiles.length < few) { turn = setTimeout(next, SHOW_MS); return; }
    at = (at + 1) % tiles.length;
    show(tiles[at].parentElement);
  };

  const arrived = (tile) => {
    // Only what comes while one looks on is seen to arrive: to have whole pages do so costs seconds.
    tile.classList.add("fresh");
    tile.addEventListener("animationend", () => tile.classList.remove("fresh"), { once: true });
    document.querySelector(".searching")?.removeAttribute("hidden");
    if (!hero) return;
    at = 0;
    show(tile);
    const tiles = document.querySelectorAll("#finished .tile");
    for (let i = KEPT_ON_SCREEN; i < tiles.length; i += 1) tiles[i].remove();
  };

  if (hero) {
    turn = setTimeout(next, SHOW_MS);
    hero.addEventListener("turn", next);
    // One large, or all as a mosaic: which of the two stays in the address.
    const arrange = () => {
      const tiles = location.hash === "#mosaic";
      body.classList.toggle("tiles", tiles);
      byId("as-mosaic")?.setAttribute("aria-pressed", String(tiles));
    };
    byId("as-mosaic")?.addEventListener("click", () => {
      history.replaceState(null, "", location.hash === "#mosaic" ? location.pathname : "#mosaic");
      arrange();
    });
    window.addEventListener("hashchange", arrange);
    arrange();
    byId("fullscreen")?.addEventListener("click", () => {
      if (document.fullscreenElement) document.exitFullscreen();
      else document.documentElement.requestFullscreen().catch(() => {});
    });
    let idle;
    const awake = () => {
      body.classList.remove("idle");
      clearTimeout(idle);
      idle = setTimeout(() => body.classList.add("idle"), 3000);
    };
    for (const kind of ["pointermove", "keydown"]) document.addEventListener(kind, awake);
    awake();
    // A projector must not fall asleep; where the browser will not hear of it, so be it.
    const keepOn = () => navigator.wakeLock?.request("screen").catch(() => {});
    document.addEventListener("visibilitychange", () => { if (!document.hidden) keepOn(); });
    keepOn();
  }
})();
