// @ts-check
/**
 * Shows logs as they are written.
 *
 * Guarantees: the page stays usable however fast lines come. It keeps a bounded number of lines and
 * draws fewer, a few times a second. Colour sequences of terminals are drawn; other ones are dropped.
 */

import { RequestError, ask, pathSegment, textChunks, sleep } from "../api/client.js";
import { button, h, remember, remembered, save, setText, select } from "../lib/dom.js";
import { byName } from "../lib/format.js";
import { LogBuffer, logs, state } from "../api/state.js";

const DRAWN = 1500; // lines on the page
const PAUSE = 200; // ms between drawings
const NEAR = 40; // pixels from the end that still count as the end

/** @param {string} code e.g. "1;31" @param {Record<string, any>} style */
function restyle(code, style) {
  const codes = code === "" ? [0] : code.split(";").map(Number);
  for (let at = 0; at < codes.length; at += 1) {
    const n = codes[at];
    if (n === 0) for (const name of Object.keys(style)) delete style[name];
    else if (n === 1) style.bold = true;
    else if (n === 2) style.faint = true;
    else if (n === 3) style.italic = true;
    else if (n === 4) style.under = true;
    else if (n === 22) delete style.bold, delete style.faint;
    else if (n === 23) delete style.italic;
    else if (n === 24) delete style.under;
    else if (n >= 30 && n <= 37) style.ink = n - 30;
    else if (n >= 90 && n <= 97) style.ink = n - 82;
    else if (n === 39) delete style.ink;
    else if (n >= 40 && n <= 47) style.paper = n - 40;
    else if (n >= 100 && n <= 107) style.paper = n - 92;
    else if (n === 49) delete style.paper;
    else if (n === 38 || n === 48) {
      const name = n === 38 ? "ink" : "paper";
      if (codes[at + 1] === 5) style[name] = colour256(codes[at + 2]);
      if (codes[at + 1] === 2) style[name] = rgb(codes[at + 2], codes[at + 3], codes[at + 4]);
      at += codes[at + 1] === 5 ? 2 : 4;
    }
  }
}

/** @param {...number} parts */
function rgb(...parts) {
  return `rgb(${parts.map((part) => Math.min(255, Math.max(0, Number(part) || 0))).join(",")})`;
}

/** @param {number} n */
function colour256(n) {
  if (!(n >= 0 && n < 256)) return 7;
  if (n < 16) return n;
  if (n >= 232) return rgb(8 + (n - 232) * 10, 8 + (n - 232) * 10, 8 + (n - 232) * 10);
  const level = (/** @type {number} */ step) => (step ? 55 + step * 40 : 0);
  return rgb(level(Math.floor((n - 16) / 36)), level(Math.floor((n - 16) / 6) % 6), level((n - 16) % 6));
}

// What terminals are told: CSI sequences, titles and the like (OSC), other two-byte escapes.
// eslint-disable-next-line no-control-regex
const ESCAPE = /\x1b\[([0-9;:?]*)([ -/]*[@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_]?|[\x00-\x08\x0b-\x1a\x1c-\x1f]/g;

/**
 * A line without anything but its text.
 * @param {string} line
 */
export function plain(line) {
  return afterReturn(line).replace(ESCAPE, "");
}

/**
 * What a carriage return leaves to see.
 * @param {string} line
 */
function afterReturn(line) {
  const whole = line.endsWith("\r") ? line.slice(0, -1) : line;
  return whole.slice(whole.lastIndexOf("\r") + 1);
}

/** @param {string} text @param {Record<string, any>} style */
function styled(text, style) {
  const names = Object.keys(style);
  if (!names.length) return document.createTextNode(text);
  const span = h("span", { class: names.map((name) => (typeof style[name] === "number" ? `${name}-${style[name]}`
    : style[name] === true ? `sgr-${name}` : "")).join(" ").trim() }, text);
  if (typeof style.ink === "string") span.style.color = style.ink;
  if (typeof style.paper === "string") span.style.backgroundColor = style.paper;
  return span;
}

/** @param {string} raw */
function lineElement(raw) {
  const line = afterReturn(raw);
  const level = /^(?:\S+ ){0,3}\[(WARN|ERROR|DEBUG)\]/.exec(line)?.[1];
  const element = h("div", { class: level ? `l ${level.toLowerCase()}` : "l" });
  if (!line.includes("\x1b")) {
    element.textContent = line.replace(ESCAPE, "") || " ";
    return element;
  }
  /** @type {Record<string, any>} */
  const style = {};
  let from = 0;
  for (const match of line.matchAll(ESCAPE)) {
    const at = /** @type {number} */ (match.index);
    if (at > from) element.append(styled(line.slice(from, at), style));
    if (match[2] === "m") restyle(match[1], style);
    from = at + match[0].length;
  }
  element.append(styled(line.slice(from) || (from ? "" : " "), style));
  return element;
}

/**
 * @param {{name: string, label: string, lines: LogBuffer, note?: HTMLElement}} of
 */
export function logPanel({ name, label, lines, note }) {
  const view = h("div", { class: "log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": label });
  const fresh = button("", () => follow(true), { class: "fresh", hidden: true });
  const status = h("span", { class: "muted small-text", role: "status" });
  let drawn = 0; // lines ever drawn or passed over
  let generation = -1;
  let following = true;
  let paused = false;
  let clearedAt = 0;
  /** @type {RegExp | null} */
  let filter = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let due;

  function draw() {
    due = undefined;
    if (paused) return count();
    if (generation !== lines.generation) {
      generation = lines.generation;
      drawn = 0;
      clearedAt = 0;
      view.replaceChildren();
    }
    const first = lines.total - lines.lines.length;
    const from = Math.max(drawn, first, clearedAt);
    let news = lines.lines.slice(from - first);
    if (filter) {
      const wanted = filter;
      news = news.filter((line) => wanted.test(plain(line)));
    }
    drawn = lines.total;
    if (news.length > DRAWN) news = news.slice(-DRAWN);
    if (news.length) {
      const excess = view.childElementCount + news.length - DRAWN;
      if (excess >= view.childElementCount) view.replaceChildren();
      else for (let n = 0; n < excess; n += 1) view.firstElementChild?.remove();
      view.append(...news.map(lineElement));
      if (following) view.scrollTop = view.scrollHeight;
    }
    count();
  }
  function count() {
    const waiting = paused ? lines.total - drawn : 0;
    fresh.hidden = following && !paused;
    setText(fresh, waiting ? `${waiting} new lines · go on` : paused ? "Paused · go on" : "Newest lines ↓");
    setText(status, filter ? `${view.childElementCount} lines match` : "");
  }
  function soon() {
    if (!due) due = setTimeout(draw, PAUSE);
  }
  function again() {
    drawn = 0;
    view.replaceChildren();
    paused = false;
    pause.setAttribute("aria-pressed", "false");
    draw();
  }
  /** @param {boolean} on */
  function follow(on) {
    following = on;
    paused = false;
    pause.setAttribute("aria-pressed", "false");
    draw();
    view.scrollTop = view.scrollHeight;
  }
  view.addEventListener("scroll", () => {
    following = view.scrollHeight - view.scrollTop - view.clientHeight < NEAR;
    count();
  });
  const pause = button("Pause", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) count();
    else draw();
  }, { "aria-pressed": "false", class: "quiet" });
  const wrap = button("Wrap", () => {
    const on = view.classList.toggle("wrap");
    wrap.setAttribute("aria-pressed", String(on));
    remember(`wrap.${name}`, on);
  }, { class: "quiet" });
  const wraps = remembered(`wrap.${name}`, true);
  view.classList.toggle("wrap", wraps);
  wrap.setAttribute("aria-pressed", String(wraps));
  const search = h("input", { type: "search", placeholder: "Filter (regular expression)", "aria-label": `Filter: ${label}`,
    "data-search": "", class: "grow", oninput: () => {
    const text = search.value;
    search.setCustomValidity("");
    try {
      filter = text ? new RegExp(text, "i") : null;
    } catch {
      filter = new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
      search.setCustomValidity("Not a regular expression: looked for as it stands");
    }
    again();
  } });
  const clear = button("Clear", () => {
    clearedAt = lines.total;
    again();
  }, { class: "quiet", title: "From this view only" });
  const download = button("Save", () => save(`${name.replace(/[^\w.-]+/g, "_")}.log`, lines.lines.map(plain).join("\n")), { class: "quiet" });
  const stop = lines.watch(soon);
  draw();
  queueMicrotask(() => { view.scrollTop = view.scrollHeight; });
  return {
    element: h("div", { class: "log-panel" }, h("div", { class: "row log-tools" }, search, status, note || null, pause, wrap,
      clear, download), h("div", { class: "log-place" }, view, fresh)),
    stop() {
      stop();
      clearTimeout(due);
    },
  };
}

/**
 * Follow the log of one model for as long as it is looked at.
 * @param {string} id
 */
export function streamOf(id) {
  const lines = new LogBuffer();
  const note = h("span", { class: "muted small-text" });
  const controller = new AbortController();
  async function run() {
    for (let pause = 500; !controller.signal.aborted; pause = Math.min(pause * 2, 5000)) {
      try {
        const response = await ask(`/logs/stream/${pathSegment(id)}`, { signal: controller.signal });
        setText(note, "");
        lines.clear();
        for await (const piece of textChunks(response)) {
          lines.take(piece);
          pause = 500;
        }
      } catch (error) {
        if (controller.signal.aborted) return;
        setText(note, error instanceof RequestError ? error.message : "connection lost");
        if (error instanceof RequestError && error.status === 400) return;
      }
      await sleep(pause);
    }
  }
  void run();
  return { lines, note, stop: () => controller.abort() };
}

const SOURCES = { proxy: "modelswap", upstream: "All models" };

/** @param {import("../lib/route.js").Route} route */
export function logsView(route) {
  const place = h("div", { class: "log-columns" });
  /** @type {(() => void)[]} */
  let stops = [];
  const stop = () => {
    stops.forEach((end) => end());
    stops = [];
  };
  const asked = route.query.get("of") || remembered("logs-of", "both");
  /** @param {string} of */
  function show(of) {
    stop();
    place.replaceChildren();
    for (const source of of === "both" ? ["proxy", "upstream"] : [of]) {
      const isModel = source.startsWith("model:");
      const stream = isModel ? streamOf(source.slice(6)) : null;
      const title = isModel ? source.slice(6) : /** @type {any} */ (SOURCES)[source];
      const panel = logPanel({ name: isModel ? `model-${source.slice(6)}` : source, label: `Log: ${title}`,
        lines: stream ? stream.lines : logs[source] || logs.proxy, note: stream?.note });
      place.append(h("section", { class: "card log-card" }, h("h2", null, title), panel.element));
      stops.push(panel.stop);
      if (stream) stops.push(stream.stop);
    }
  }
  const names = state.models.filter((model) => !model.peerID).map((model) => model.id).sort(byName);
  if (asked.startsWith("model:") && !names.includes(asked.slice(6))) names.unshift(asked.slice(6));
  const chooser = select([["both", "modelswap and all models"], ["proxy", "modelswap"], ["upstream", "All models"],
    ...names.map((id) => /** @type {[string, string]} */ ([`model:${id}`, `Model ${id}`]))],
      { value: asked, "aria-label": "Which log", onchange: (/** @type {any} */ event) => {
    remember("logs-of", event.target.value.startsWith("model:") ? "both" : event.target.value);
    route.setQuery({ of: event.target.value === "both" ? "" : event.target.value });
    show(event.target.value);
  } });
  show(["both", "proxy", "upstream"].includes(asked) || asked.startsWith("model:") ? asked : "both");
  return { title: "Logs", element: h("div", { class: "fill" }, h("div", { class: "row head" }, h("h1", null, "Logs"),
    h("span", { class: "grow" }), chooser), place), stop };
}
