// @ts-check
/** Sends several requests at once and shows their phases and speeds. */

import { ask, serverEvents, isAbort } from "../../api/client.js";
import { choices, modelChoice } from "./model_choice.js";
import { button, empty, field, fill, h, remember, remembered, setText } from "../../lib/dom.js";
import { duration, speed } from "../../lib/format.js";
import { ChatResponse } from "../../api/dialects.js";

/**
 * @typedef {"waiting" | "loading" | "reasoning" | "streaming" | "done" | "failed" | "stopped"} Phase
 * @typedef {{model: string, spans: {phase: Phase, from: number}[], end: number, first: number, said: ChatResponse, pieces: number, error: string}} Run
 */

const LASTING = new Set(["waiting", "loading", "reasoning", "streaming"]);
const PHASES = /** @type {[Phase, string][]} */ ([["waiting", "waiting"], ["loading", "loading"], ["reasoning", "reasoning"],
  ["streaming", "streaming"], ["done", "done"], ["failed", "failed"]]);

/** @param {Run} run */
const phaseOf = (run) => run.spans[run.spans.length - 1].phase;

/** @param {number[]} values @param {number} share */
function percentile(values, share) {
  const ordered = [...values].sort((a, b) => a - b);
  return ordered[Math.min(ordered.length - 1, Math.floor(share * ordered.length))];
}

export function loadTestPane() {
  /** @type {string[]} */
  let list = remembered("loadtest-list", []).filter((/** @type {any} */ id) => typeof id === "string");
  /** @type {Run[]} */
  let runs = [];
  let began = 0;
  /** @type {AbortController | null} */
  let busy = null;
  const model = modelChoice("loadtest");
  const prompt = h("textarea", { rows: 2, value: remembered("loadtest-prompt", "Tell a short story about a lighthouse."),
    onchange: () => remember("loadtest-prompt", prompt.value) });
  const limit = h("input", { type: "number", min: 1, value: remembered("loadtest-limit", 256),
    onchange: () => remember("loadtest-limit", Number(limit.value)) });
  const queue = h("ul", { class: "chips", "aria-label": "Requests to be sent" });
  const go = button("Start", () => (busy ? busy.abort() : start()), { class: "primary" });
  const timeline = h("div", { class: "timeline" });
  const summary = h("p", { role: "status" });

  function drawQueue() {
    remember("loadtest-list", list);
    fill(queue, list.map((id, at) => h("li", { class: "chip" }, id, button("✕", () => {
      list.splice(at, 1);
      drawQueue();
    }, { class: "quiet", "aria-label": `Remove ${id}` }))));
    go.disabled = !list.length && !busy;
  }
  function put(/** @type {string[]} */ ids) {
    list = [...list, ...ids].slice(0, 200);
    drawQueue();
  }
  const now = () => performance.now() - began;

  /** @param {Run} run @param {Phase} phase */
  function enter(run, phase) {
    if (phaseOf(run) !== phase) run.spans.push({ phase, from: now() });
  }
  /** @param {Run} run @param {AbortSignal} signal */
  async function send(run, signal) {
    try {
      const body = { model: run.model, stream: true, stream_options: { include_usage: true },
        max_tokens: Number(limit.value) || 256, messages: [{ role: "user", content: prompt.value }] };
      const response = await ask("/v1/chat/completions", { json: body, signal });
      for await (const event of serverEvents(response)) {
        run.said.take(event.data);
        run.pieces += 1;
        if (run.said.isLoading) enter(run, "loading");
        else if (run.said.content) enter(run, "streaming");
        else if (run.said.thoughtText) enter(run, "reasoning");
        if (!run.first && (run.said.content || run.said.thoughtText)) run.first = now();
      }
      run.error = run.said.error || (run.said.isDone || run.said.finish ? "" : "broke off");
      enter(run, run.error ? "failed" : "done");
    } catch (error) {
      run.error = isAbort(error) ? "" : /** @type {Error} */ (error).message;
      enter(run, isAbort(error) ? "stopped" : "failed");
    }
    run.end = now();
  }
  async function start() {
    const mine = new AbortController();
    busy = mine;
    began = performance.now();
    setText(go, "Stop");
    runs = list.map((id) => ({ model: id, spans: [{ phase: "waiting", from: 0 }], end: 0, first: 0, said: new ChatResponse(), pieces: 0,
      error: "" }));
    const drawn = rows();
    const timer = setInterval(() => draw(drawn), 150);
    await Promise.all(runs.map((run) => send(run, mine.signal)));
    clearInterval(timer);
    busy = null;
    setText(go, "Start");
    draw(drawn);
    drawQueue();
  }
  /** @param {Run} run */
  function rate(run) {
    const tokens = run.said.timings?.predicted_n ?? run.said.usage?.completion_tokens;
    const seconds = ((run.end || now()) - run.first) / 1000;
    if (run.said.timings?.predicted_per_second) return run.said.timings.predicted_per_second;
    return run.first && seconds > 0.05 ? (tokens || run.pieces) / seconds : 0;
  }
  function rows() {
    const found = runs.map((run) => {
      const bar = h("div", { class: "bar-place" });
      const text = h("span", { class: "muted small-text" });
      const words = h("pre", { class: "thought" });
      return { run, bar, text, words, element: h("li", null, h("div", { class: "run-name", title: run.model }, run.model), bar,
        h("details", { class: "run-text" }, h("summary", null, text), words)) };
    });
    fill(timeline, h("p", { class: "legend" }, PHASES.map(([phase, name]) => h("span", null,
      h("i", { class: `phase ${phase}`, "aria-hidden": "true" }), name))),
      h("ol", { class: "runs" }, found.map((each) => each.element)));
    return found;
  }
  /** @param {ReturnType<typeof rows>} drawn */
  function draw(drawn) {
    const span = Math.max(1, ...runs.map((run) => run.end || now()));
    for (const { run, bar, text, words } of drawn) {
      fill(bar, run.spans.filter((each) => LASTING.has(each.phase)).map((each) => {
        const next = run.spans[run.spans.indexOf(each) + 1];
        const piece = h("i", { class: `phase ${each.phase}`, title: each.phase });
        piece.style.left = `${(each.from / span) * 100}%`;
        piece.style.width = `${Math.max(0.3, (((next ? next.from : run.end || now()) - each.from) / span) * 100)}%`;
        return piece;
      }));
      const phase = phaseOf(run);
      if (!LASTING.has(phase)) {
        const dot = h("i", { class: `phase end ${phase}`, title: phase });
        dot.style.left = `${(run.end / span) * 100}%`;
        bar.append(dot);
      }
      setText(text, [phase, duration(run.end || now()), run.first && `first token ${duration(run.first)}`,
        run.first && `${speed(rate(run))} tokens/s`, run.error].filter(Boolean).join(" · "));
      text.classList.toggle("bad", phase === "failed");
      if (/** @type {HTMLDetailsElement} */ (words.parentElement).open) setText(words,
        [run.said.loadingText, run.said.thoughtText, run.said.content].filter(Boolean).join("\n\n"));
    }
    const done = runs.filter((run) => phaseOf(run) === "done");
    const firsts = done.map((run) => run.first).filter(Boolean);
    const tokens = done.reduce((sum,
      run) => sum + (run.said.timings?.predicted_n ?? run.said.usage?.completion_tokens ?? run.pieces), 0);
    setText(summary, [`${done.length} of ${runs.length} done in ${duration(span)}`,
      firsts.length && `first token: half within ${duration(percentile(firsts, 0.5))}, 95 % within ${duration(percentile(firsts, 0.95))}`,
      tokens && `${speed(tokens / (span / 1000))} tokens/s in all`].filter(Boolean).join(" · "));
  }
  timeline.addEventListener("toggle", (/** @type {any} */ event) => {
    const at = [...timeline.querySelectorAll("details")].indexOf(event.target);
    if (at >= 0 && event.target.open) setText(event.target.lastChild, [runs[at].said.loadingText, runs[at].said.thoughtText,
      runs[at].said.content].filter(Boolean).join("\n\n") || "Nothing yet.");
  }, true);
  drawQueue();
  fill(timeline, empty("Nothing sent yet",
    "Add models, as often as you like, and start: all requests go out at once. Browsers keep to six connections, so the seventh waits here."));
  return h("div", { class: "trial" }, h("div", { class: "row" }, field("Model", model, "grow"),
    button("Add", () => put([model.value].filter(Boolean))), button("Add three",
    () => put(model.value ? [model.value, model.value, model.value] : [])),
    button("Add all", () => put(choices().filter((each) => each.group === "Models").map((each) => each.id))),
      button("Empty", () => {
      list = [];
      drawQueue();
    }, { class: "quiet" })), queue, h("div", { class: "filters" }, field("Prompt", prompt, "grow"),
      field("Most tokens each", limit)), go, summary, timeline);
}
