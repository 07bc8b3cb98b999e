// Painting with a finger, a pen or a mouse: masks over a picture, and sketches.
//
// In a page:
//
//   <div class="painting" data-paint="mask|sketch" data-width="512" data-height="384"
//        data-under="/address/of/a/picture" data-into="name of a file field" aria-label="…"></div>
//
// becomes a canvas with its tools; what is painted is kept, as PNG, in the form's file field of
// that name, which so is sent like any upload. An empty canvas is no file. With
// `data-shape="name"` its proportions follow a choice such as “384x256” while it is empty.
//
// In a script:
//
//   const painting = new Painting(host, { kind, width, height, under, label });
//   painting.empty           whether nothing is painted
//   painting.png()           a Blob: of a mask white on black, of a sketch its colours on paper
//   painting.undo(), redo(), clear(), invert() (masks)
//   painting.tool = "brush" | "eraser" | "fill"; painting.size (of the canvas's shorter side, 0..1)
//   painting.colour = "#rrggbb"
//   painting.resize(width, height)   and clear
//   host.addEventListener("painted", …)   after every change, also of undoing
//
// Sizes are pixels of the PNG; masks are at most MOST a side, and are fitted to their picture by
// its proportions. Nothing but styles set by the script itself is needed of a content policy.
(() => {
  "use strict";
  const MOST = 768;
  const KEPT = 24;  // states to go back to
  const PAPER = "#ffffff";
  const CLOSE = 40;  // how far a channel may differ for a fill to go on
  const EDGE = 2;  // pixels over which the edges of strokes fade: a fill goes on beneath them
  const COLOURS = [
    ["black", "#16141c"], ["white", "#ffffff"], ["grey", "#8d8a96"], ["brown", "#7a4a2b"],
    ["red", "#d8352a"], ["orange", "#f28c28"], ["yellow", "#f7d038"], ["green", "#3a9d3f"],
    ["dark green", "#1d5c38"], ["turquoise", "#2bb7c9"], ["blue", "#2f6fde"],
    ["dark blue", "#1c2f70"], ["violet", "#7a4bd0"], ["pink", "#ef8fb5"], ["skin", "#e9b999"],
  ];

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const surface = (width, height) => element("canvas", { width, height });
  const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

  class Painting {
    #past = [];
    #future = [];
    #blank = true;
    #pointer = null;
    #last = null;
    #buttons = {};

    constructor(host, { kind = "sketch", width = 512, height = 512, under = "", label = "" } = {}) {
      this.host = host;
      this.kind = kind;
      this.tool = "brush";
      this.size = kind === "mask" ? 0.12 : 0.03;
      this.colour = kind === "mask" ? PAPER : COLOURS[0][1];
      this.canvas = element("canvas", { className: "canvas", tabIndex: 0 });
      this.canvas.setAttribute("role", "img");
      this.canvas.setAttribute("aria-label", label || host.getAttribute("aria-label") || "Canvas");
      this.ring = element("i", { className: "ring", hidden: true });
      this.board = element("div", { className: "board" });
      if (under) this.board.append(element("img", { src: under, alt: "", draggable: false }));
      this.board.append(this.canvas, this.ring);
      host.classList.add(kind);
      host.replaceChildren(this.board, this.#tools());
      this.resize(width, height);
      this.#listen();
    }

    // --- what it is --------------------------------------------------------------------------------

    get empty() { return this.#blank; }

    png() {
      const { width, height } = this.canvas;
      const out = surface(width, height);
      const pen = out.getContext("2d");
      if (this.kind === "mask") {
        pen.drawImage(this.canvas, 0, 0);
        pen.globalCompositeOperation = "source-in";
        pen.fillStyle = PAPER;
        pen.fillRect(0, 0, width, height);
        pen.globalCompositeOperation = "destination-over";
        pen.fillStyle = "#000000";
        pen.fillRect(0, 0, width, height);
      } else {
        pen.fillStyle = PAPER;
        pen.fillRect(0, 0, width, height);
        pen.drawImage(this.canvas, 0, 0);
      }
      // At once, not by a promise: a form may be sent right after the last stroke.
      const data = atob(out.toDataURL("image/png").split(",")[1]);
      const bytes = Uint8Array.from(data, (letter) => letter.charCodeAt(0));
      return new Blob([bytes], { type: "image/png" });
    }

    // --- changing it -------------------------------------------------------------------------------

    resize(width, height) {
      const scale = Math.min(1, MOST / Math.max(width, height));
      this.canvas.width = Math.max(1, Math.round(width * scale));
      this.canvas.height = Math.max(1, Math.round(height * scale));
      this.board.style.aspectRatio = `${width} / ${height}`;
      this.board.style.setProperty("--ratio", String(width / height));
      this.pen = this.canvas.getContext("2d", { willReadFrequently: true });
      this.#past = [];
      this.#future = [];
      this.#blank = true;
      this.#told();
    }

    undo() { this.#travel(this.#past, this.#future); }

    redo() { this.#travel(this.#future, this.#past); }

    clear() {
      if (this.#blank) return;
      this.#keep();
      this.#wipe();
      this.#blank = true;
      this.#told();
    }

    invert() {
      this.#keep();
      const { width, height } = this.canvas;
      const before = this.#copy();
      this.#wipe();
      this.pen.fillStyle = this.colour;
      this.pen.fillRect(0, 0, width, height);
      this.pen.globalCompositeOperation = "destination-out";
      this.pen.drawImage(before, 0, 0);
      this.pen.globalCompositeOperation = "source-over";
      this.#told();
    }

    // --- tools -------------------------------------------------------------------------------------

    #tools() {
      const bar = element("div", { className: "tools" });
      bar.setAttribute("role", "toolbar");
      bar.setAttribute("aria-label", "Painting tools");
      const button = (name, label, act) => {
        const made = element("button", { type: "button", textContent: label, onclick: act });
        this.#buttons[name] = made;
        bar.append(made);
      };
      const choose = (tool) => () => { this.tool = tool; this.#told(false); };
      button("brush", "Brush", choose("brush"));
      button("eraser", "Eraser", choose("eraser"));
      if (this.kind === "sketch") button("fill", "Fill", choose("fill"));
      button("undo", "Undo", () => this.undo());
      button("redo", "Redo", () => this.redo());
      if (this.kind === "mask") button("invert", "Invert", () => this.invert());
      button("clear", "Clear", () => this.clear());
      const range = element("input", { type: "range", min: 0, max: 100, value: 0 });
      // Small brushes need finer steps than large ones.
      range.value = String(Math.round(100 * Math.sqrt((this.size - 0.005) / 0.395)));
      range.oninput = () => { this.size = 0.005 + 0.395 * (range.value / 100) ** 2; };
      bar.append(element("label", { className: "width" }, "Size", range));
      if (this.kind === "sketch") bar.append(this.#palette());
      return bar;
    }

    #palette() {
      const palette = element("div", { className: "palette" });
      palette.setAttribute("role", "group");
      palette.setAttribute("aria-label", "Colours");
      const chosen = (colour, button) => {
        this.colour = colour;
        if (this.tool === "eraser") this.tool = "brush";
        for (const other of palette.querySelectorAll("button")) {
          other.setAttribute("aria-pressed", String(other === button));
        }
        this.#told(false);
      };
      for (const [name, colour] of COLOURS) {
        const swatch = element("button", { type: "button", title: name });
        swatch.setAttribute("aria-label", name);
        swatch.setAttribute("aria-pressed", String(colour === this.colour));
        swatch.style.background = colour;
        swatch.onclick = () => chosen(colour, swatch);
        palette.append(swatch);
      }
      const any = element("input", { type: "color", value: "#ff7a6b", title: "any colour" });
      any.setAttribute("aria-label", "any colour");
      any.oninput = () => chosen(any.value, null);
      palette.append(any);
      return palette;
    }

    #listen() {
      const canvas = this.canvas;
      canvas.addEventListener("pointerdown", (event) => {
        if (this.#pointer !== null || event.button > 0) return;
        event.preventDefault();
        canvas.focus({ preventScroll: true });
        this.#keep();
        const point = this.#point(event);
        if (this.tool === "fill") {
          this.#fill(point);
          this.#told();
          return;
        }
        this.#pointer = event.pointerId;
        canvas.setPointerCapture(event.pointerId);
        this.#last = point;
        this.#stroke(point, point);
      });
      canvas.addEventListener("pointermove", (event) => {
        this.#show(event);
        if (event.pointerId !== this.#pointer) return;
        const moves = event.getCoalescedEvents?.() ?? [];
        for (const move of moves.length ? moves : [event]) {
          const point = this.#point(move);
          this.#stroke(this.#last, point);
          this.#last = point;
        }
      });
      const end = (event) => {
        if (event.pointerId !== this.#pointer) return;
        this.#pointer = null;
        this.#told();
      };
      canvas.addEventListener("pointerup", end);
      canvas.addEventListener("pointercancel", end);
      canvas.addEventListener("pointerleave", () => { this.ring.hidden = true; });
      this.host.addEventListener("keydown", (event) => {
        if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
        event.preventDefault();
        if (event.shiftKey) this.redo(); else this.undo();
      });
    }

    // Where an event is on the canvas, and how wide its brush is there, in the canvas's pixels.
    #point(event) {
      const box = this.canvas.getBoundingClientRect();
      const { width, height } = this.canvas;
      // A mouse presses with 0.5 or not at all; fingers often say nothing of their pressure.
      const pressure = event.pointerType === "pen" ? 0.35 + event.pressure : 1;
      return {
        x: (event.clientX - box.left) * (width / box.width),
        y: (event.clientY - box.top) * (height / box.height),
        wide: Math.max(1, this.size * Math.min(width, height) * pressure),
      };
    }

    #stroke(from, to) {
      const pen = this.pen;
      // Paper is what a sketch has where nothing is painted.
      pen.globalCompositeOperation = this.tool === "eraser" ? "destination-out" : "source-over";
      pen.strokeStyle = this.colour;
      pen.lineCap = "round";
      pen.lineWidth = (from.wide + to.wide) / 2;
      pen.beginPath();
      pen.moveTo(from.x, from.y);
      pen.lineTo(to.x, to.y);
      pen.stroke();
      pen.globalCompositeOperation = "source-over";
    }

    // Fills what lies together and is of nearly one colour, row by row.
    #fill({ x, y }) {
      const { width, height } = this.canvas;
      const begun = [Math.floor(x), Math.floor(y)];
      if (begun[0] < 0 || begun[1] < 0 || begun[0] >= width || begun[1] >= height) return;
      const image = this.pen.getImageData(0, 0, width, height);
      const data = image.data;
      const first = 4 * (begun[1] * width + begun[0]);
      const old = data.slice(first, first + 4);
      const seen = new Uint8Array(width * height);
      const alike = (at) => !seen[at] && [0, 1, 2, 3].every((channel) => (
        Math.abs(data[4 * at + channel] - old[channel]) <= CLOSE
      ));
      const colour = [...rgb(this.colour), 255];
      const waiting = [begun[1] * width + begun[0]];
      while (waiting.length) {
        const at = waiting.pop();
        if (!alike(at)) continue;
        const row = Math.floor(at / width) * width;
        let left = at;
        let right = at;
        while (left > row && alike(left - 1)) left -= 1;
        while (right < row + width - 1 && alike(right + 1)) right += 1;
        for (let here = left; here <= right; here += 1) {
          seen[here] = 1;
          if (here >= width && alike(here - width)) waiting.push(here - width);
          if (here + width < width * height && alike(here + width)) waiting.push(here + width);
        }
      }
      seen.forEach((is, at) => { if (is) data.set(colour, 4 * at); });
      for (let ring = 0; ring < EDGE; ring += 1) {
        const around = [];
        seen.forEach((is, at) => {
          if (!is) return;
          const column = at % width;
          if (column > 0) around.push(at - 1);
          if (column < width - 1) around.push(at + 1);
          if (at >= width) around.push(at - width);
          if (at + width < seen.length) around.push(at + width);
        });
        for (const at of around) {
          if (seen[at]) continue;
          seen[at] = 1;
          const part = data[4 * at + 3] / 255;
          for (let channel = 0; channel < 3; channel += 1) {
            const over = data[4 * at + channel];
            data[4 * at + channel] = Math.round(part * over + (1 - part) * colour[channel]);
          }
          data[4 * at + 3] = 255;
        }
      }
      this.pen.putImageData(image, 0, 0);
    }

    #show(event) {
      this.ring.hidden = event.pointerType === "touch" || this.tool === "fill";
      if (this.ring.hidden) return;
      const box = this.canvas.getBoundingClientRect();
      const wide = this.size * Math.min(box.width, box.height);
      this.ring.style.width = `${wide}px`;
      this.ring.style.translate =
        `${event.clientX - box.left - wide / 2}px ${event.clientY - box.top - wide / 2}px`;
    }

    // --- going back and forth ----------------------------------------------------------------------

    #copy() {
      const copy = surface(this.canvas.width, this.canvas.height);
      copy.getContext("2d").drawImage(this.canvas, 0, 0);
      return copy;
    }

    #wipe() { this.pen.clearRect(0, 0, this.canvas.width, this.canvas.height); }

    // Before a change: what is there can be gone back to.
    #keep() {
      this.#past.push([this.#copy(), this.#blank]);
      if (this.#past.length > KEPT) this.#past.shift();
      this.#future = [];
      this.#blank = false;
    }

    #travel(from, to) {
      if (!from.length || this.#pointer !== null) return;
      to.push([this.#copy(), this.#blank]);
      const [state, blank] = from.pop();
      this.#wipe();
      this.pen.drawImage(state, 0, 0);
      this.#blank = blank;
      this.#told();
    }

    #told(changed = true) {
      for (const name of ["brush", "eraser", "fill"]) {
        this.#buttons[name]?.setAttribute("aria-pressed", String(this.tool === name));
      }
      this.#buttons.undo.disabled = this.#past.length === 0;
      this.#buttons.clear.disabled = this.#blank;
      this.#buttons.redo.disabled = this.#future.length === 0;
      this.board.classList.toggle("filling", this.tool === "fill");
      if (changed) this.host.dispatchEvent(new CustomEvent("painted", { bubbles: true }));
    }
  }

  // --- in a page -----------------------------------------------------------------------------------

  const mount = (host) => {
    const { paint: kind, width, height, under, into, shape } = host.dataset;
    const form = host.closest("form");
    const field = () => form?.elements.namedItem(into);
    const painting = new Painting(host, {
      kind, width: Number(width), height: Number(height), under,
    });
    const keep = () => {
      const input = field();
      if (!input) return;
      const files = new DataTransfer();
      if (!painting.empty) {
        files.items.add(new File([painting.png()], `${kind}.png`, { type: "image/png" }));
      }
      input.files = files.files;
    };
    host.addEventListener("painted", keep);
    const fit = () => {
      const [across, down] = (form?.elements.namedItem(shape)?.value || "").split("x").map(Number);
      if (painting.empty && across && down) painting.resize(across * 2, down * 2);
      else if (painting.empty) painting.resize(Number(width), Number(height));
    };
    if (shape) {
      form?.addEventListener("change", (event) => { if (event.target.name === shape) fit(); });
    }
    // What was sent is done with; a mistake leaves it to be mended.
    form?.addEventListener("htmx:afterRequest", (event) => {
      const { elt, xhr } = event.detail;
      if (elt !== form || xhr.status === 0 || xhr.status >= 400) return;
      painting.resize(painting.canvas.width, painting.canvas.height);
    });
  };

  globalThis.Painting = Painting;
  for (const host of document.querySelectorAll("[data-paint]")) mount(host);
})();
