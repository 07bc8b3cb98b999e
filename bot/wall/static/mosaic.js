// A stream's mosaics, as if they were one, however far one scrolls.
//
// Each page of pictures is a mosaic, a grid of its own. One that is far from what is in sight is put
// away: its tiles are kept as text, and the empty grid keeps its height. So what a browser styles, lays
// out and holds pictures for is bounded, however much one has scrolled through. What is put away and
// comes near again is put back, but for what a fling passes by: that would cost its layout, and asking
// for each of its pictures again, for something that nobody can see.
(() => {
  "use strict";
  const KEPT = "300% 0px"; // of the screen, above and below it: further away, mosaics are put away
  const RECENT_MS = 100;
  const FLING = 0.6; // screens within that time: what is passed faster is not put back
  const AHEAD = "0px 0px 200% 0px"; // where the next page is asked for
  const LIVE_MOST = 120; // tiles of the mosaic that new pictures come to
  const SPLIT = [72, 24]; // how many leave it at once: as fill their rows best
  const ABOVE = 24; // pictures above the one that somebody comes back to
  const finished = document.getElementById("finished");
  if (!finished?.matches(".mosaics")) return;
  const live = finished.querySelector("[sse-swap]");

  // --- where tiles are, without asking the browser to lay anything out --------------------------
  let grid = null; // { columns, cell, gap } in CSS pixels; null where it has to be measured again
  const measured = (mosaic) => {
    if (!grid) {
      const style = getComputedStyle(mosaic);
      const tracks = style.gridTemplateColumns.split(" ");
      grid = { columns: tracks.length, cell: parseFloat(tracks[0]), gap: parseFloat(style.rowGap) };
    }
    return grid;
  };
  const idOf = (tile) => tile.id.slice("dream-".length);
  const spanOf = (tile) => {
    const first = tile === finished.firstElementChild?.firstElementChild;
    if (tile.matches(".square")) return first ? [2, 2] : [1, 1];
    return tile.matches(".tall") ? [1, 2] : [2, 1];
  };
  // As `grid-auto-flow: dense` does: each in the first place, row by row, that has room for it.
  // `rows` are bits, one a column; `ends` is the row after each one's last.
  const pack = (spans, columns) => {
    const rows = [];
    let open = 0; // no row before it has room
    const ends = spans.map(([wide, high]) => {
      const width = Math.min(wide, columns);
      while (rows[open] === 2 ** columns - 1) open += 1;
      for (let row = open; ; row += 1) {
        for (let column = 0; column + width <= columns; column += 1) {
          const place = (2 ** width - 1) << column;
          if ((rows[row] & place) || (high > 1 && rows[row + 1] & place)) continue;
          for (let at = row; at < row + high; at += 1) rows[at] |= place;
          return row + high;
        }
      }
    });
    return { rows, ends };
  };
  const holesIn = (spans, columns) =>
    pack(spans, columns).rows.length * columns
      - spans.reduce((cells, [wide, high]) => cells + Math.min(wide, columns) * high, 0);

  // The upper one's last rows may not be full: what is in them goes to the top of the one below.
  const join = (upper, lower) => {
    const { columns } = measured(upper);
    for (let round = 0; round < 6; round += 1) {
      const tiles = [...upper.children];
      const { rows, ends } = pack(tiles.map(spanOf), columns);
      let even = rows.length;
      for (let column = 0; column < columns; column += 1) {
        even = Math.min(even, rows.findLastIndex((row) => row & (1 << column)) + 1);
      }
      const over = tiles.filter((_, index) => ends[index] > even);
      if (!over.length || over.length === tiles.length) return;
      lower.prepend(...over);
    }
  };

  // --- putting away, and putting back -----------------------------------------------------------
  const away = new Map(); // mosaic → { html, spans, ids }
  const heighten = (mosaic, spans) => {
    if (!grid) return; // done as soon as it is measured
    const rows = pack(spans, grid.columns).rows.length;
    mosaic.style.minBlockSize = `${rows * grid.cell + (rows - 1) * grid.gap}px`;
  };
  const putAway = (mosaic) => {
    if (away.has(mosaic) || mosaic === live || !mosaic.firstElementChild) return;
    if (mosaic.contains(document.activeElement)) return;
    const tiles = [...mosaic.children];
    const kept = { html: mosaic.innerHTML, spans: tiles.map(spanOf), ids: tiles.map(idOf) };
    measured(mosaic);
    away.set(mosaic, kept);
    heighten(mosaic, kept.spans);
    mosaic.classList.add("away");
    mosaic.textContent = "";
  };
  const putBack = (mosaic) => {
    const kept = away.get(mosaic);
    waiting.delete(mosaic);
    if (!kept) return;
    away.delete(mosaic);
    mosaic.innerHTML = kept.html;
    mosaic.classList.remove("away");
    mosaic.style.minBlockSize = "";
  };
  // What has come near waits for its frame: one each, the nearest first, and none in a fling.
  const waiting = new Set();
  let frame = 0;
  let travelled = []; // [when, how many pixels], of late
  let before = scrollY;
  addEventListener("scroll", () => {
    travelled.push([performance.now(), Math.abs(scrollY - before)]);
    before = scrollY;
  }, { passive: true });
  const isFlung = () => {
    const since = performance.now() - RECENT_MS;
    travelled = travelled.filter(([at]) => at > since);
    return travelled.reduce((sum, [, pixels]) => sum + pixels, 0) > FLING * innerHeight;
  };
  const distanceOf = (mosaic) => {
    const { top, bottom } = mosaic.getBoundingClientRect();
    return Math.max(0, top - innerHeight, -bottom);
  };
  const putNextBack = () => {
    frame = 0;
    if (!isFlung()) {
      let [nearest, least] = [null, Infinity];
      for (const mosaic of waiting) {
        const distance = distanceOf(mosaic);
        if (distance < least) [nearest, least] = [mosaic, distance];
      }
      if (nearest) putBack(nearest);
    }
    if (waiting.size) frame = requestAnimationFrame(putNextBack);
  };
  const nearness = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && away.has(target)) waiting.add(target);
      else if (!isIntersecting && !waiting.delete(target)) putAway(target);
    }
    if (waiting.size) frame ||= requestAnimationFrame(putNextBack);
  }, { rootMargin: KEPT });
  // What held the focus was not put away; now it may be.
  finished.addEventListener("focusout", ({ target }) => {
    const mosaic = target.closest(".mosaic");
    if (!mosaic) return;
    nearness.unobserve(mosaic);
    nearness.observe(mosaic);
  });
  let width;
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width === width) return;
    width = contentRect.width;
    grid = null;
    const shown = finished.querySelector(".mosaic:not(.away) > .tile")?.parentElement;
    if (!shown || !away.size) return;
    measured(shown);
    away.forEach(({ spans }, mosaic) => heighten(mosaic, spans));
  }).observe(finished);

  // What is deleted is not kept as text either; what is put away is not put in a second time.
  document.body.addEventListener("htmx:sseBeforeMessage", (event) => {
    const { type, data } = event.detail;
    if (type !== "deleted" && type !== "done") return;
    const id = /\bid="dream-([^"]+)"/.exec(data)?.[1];
    for (const [mosaic, kept] of away) {
      const index = kept.ids.indexOf(id);
      if (index < 0) continue;
      event.preventDefault();
      if (type === "done") return;
      const template = document.createElement("template");
      template.innerHTML = kept.html;
      template.content.querySelector(`#dream-${CSS.escape(id)}`)?.remove();
      kept.html = template.innerHTML;
      kept.spans.splice(index, 1);
      kept.ids.splice(index, 1);
      heighten(mosaic, kept.spans);
    }
  });

  // --- what comes ---------------------------------------------------------------------------------
  const ahead = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) htmx.trigger(target, "near");
    }
  }, { rootMargin: AHEAD });
  const lookAhead = () => {
    const older = finished.querySelector(".older");
    if (!older) return;
    ahead.unobserve(older);
    ahead.observe(older);
  };

  // The mosaic that new pictures come to gives the oldest of them away, where nobody sees it.
  const relieve = () => {
    if (live.childElementCount <= LIVE_MOST) return;
    if (live.getBoundingClientRect().bottom < 2 * innerHeight) return;
    const tiles = [...live.children];
    const spans = tiles.map(spanOf);
    const { columns } = measured(live);
    const [most, least] = SPLIT;
    let [count, holes] = [most, Infinity];
    for (let some = most; some >= least && holes > 0; some -= 1) {
      const left = holesIn(spans.slice(-some), columns);
      if (left < holes) [count, holes] = [some, left];
    }
    const mosaic = document.createElement("div");
    mosaic.className = "mosaic";
    mosaic.append(...tiles.slice(-count));
    live.after(mosaic);
    nearness.observe(mosaic);
  };
  htmx.onLoad((added) => {
    if (added.matches(".mosaics > .mosaic")) {
      const upper = added.previousElementSibling;
      if (waiting.has(upper)) putBack(upper);
      if (upper?.matches(".mosaic:not(.away)")) join(upper, added);
      nearness.observe(added);
    } else if (added.matches(".mosaics > .older")) {
      lookAhead();
    } else if (added.parentElement === live && added.matches(".tile")) {
      relieve();
    }
  });
  finished.querySelectorAll(".mosaic").forEach((mosaic) => nearness.observe(mosaic));
  lookAhead();

  // --- going to a dream, and coming back to where one was ----------------------------------------
  // Far down, the address then begins a page a little above the picture.
  finished.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const tiles = [...finished.querySelectorAll(".tile")];
    const from = tiles[tiles.indexOf(tile) - ABOVE];
    if (!from || tile.parentElement === finished.firstElementChild) return;
    const here = new URL(location.pathname, location.href);
    here.searchParams.set("before", idOf(from));
    here.hash = tile.id;
    history.scrollRestoration = "manual";
    history.replaceState(null, "", here);
  });
  const left = location.hash && document.getElementById(location.hash.slice(1));
  if (left && finished.contains(left)) {
    left.scrollIntoView({ block: "center", behavior: "instant" });
    left.focus({ preventScroll: true });
  }
})();
