// @ts-check
/** Shows the conversation of the playground. It continues while another view is open. */

import { ask, serverEvents, isAbort } from "../../api/client.js";
import { modelChoice } from "./model_choice.js";
import { button, copy, empty, field, fill, h, remember, remembered, setText, select, toast } from "../../lib/dom.js";
import { duration, speed } from "../../lib/format.js";
import { markdown, renderInto } from "../../lib/markdown.js";
import { ChatResponse, CHAT_PATHS, chatRequest, wholeAnswer } from "../../api/dialects.js";

/** @typedef {{role: string, text: string, images?: string[], thought?: string, error?: string, note?: string}} Turn */

const MOST_IMAGES = 5;
const LARGEST = 20 << 20;
const DRAW_EVERY = 60; // ms between drawings of a stream

/** @returns {Turn[]} */
function restored() {
  const found = remembered("chat", []);
  return Array.isArray(found) ? found.filter((turn) => typeof turn?.text === "string" && typeof turn?.role === "string") : [];
}

/** @param {Blob} file @returns {Promise<string>} */
function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

export function chatPane() {
  let turns = restored();
  /** @type {AbortController | null} */
  let busy = null;
  /** @type {string[]} */
  let images = [];
  const model = modelChoice("chat");
  const dialect = select([["chat", "/v1/chat/completions"], ["messages", "/v1/messages"], ["responses", "/v1/responses"]],
    { value: remembered("chat-dialect", "chat"),
    onchange: () => remember("chat-dialect", dialect.value) });
  const system = h("textarea", { rows: 3, value: remembered("chat-system", ""), placeholder: "None",
    onchange: () => remember("chat-system", system.value) });
  const temperature = h("input", { type: "number", min: 0, max: 2, step: 0.05, value: remembered("chat-temperature", ""),
    placeholder: "Model's own", onchange: () => remember("chat-temperature", temperature.value) });
  const limit = h("input", { type: "number", min: 1, step: 1, value: remembered("chat-limit", ""), placeholder: "No limit",
    onchange: () => remember("chat-limit", limit.value) });
  const thread = h("div", { class: "thread", role: "log", "aria-label": "Conversation", "aria-live": "off", tabindex: "0" });
  const input = h("textarea", { rows: 2, placeholder: "Write a message", "aria-label": "Message", class: "grow",
    value: remembered("chat-draft", ""),
    oninput: () => remember("chat-draft", input.value), onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      submit();
    }, onpaste: (/** @type {ClipboardEvent} */ event) => attach([...(event.clipboardData?.files || [])]) });
  const send = button("Send", () => (busy ? busy.abort() : submit()), { class: "primary" });
  const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/gif,image/webp", multiple: true, class: "away",
    tabindex: "-1", "aria-hidden": "true",
    onchange: () => attach([...file.files]).then(() => { file.value = ""; }) });
  const thumbs = h("div", { class: "row thumbs" });

  async function attach(/** @type {File[]} */ files) {
    for (const each of files.filter((one) => one.type.startsWith("image/"))) {
      if (images.length >= MOST_IMAGES) return toast(`At most ${MOST_IMAGES} pictures`, "error");
      if (each.size > LARGEST) toast(`${each.name} is larger than 20 MiB`, "error");
      else images.push(await dataUrl(each));
      drawThumbs();
    }
  }
  function drawThumbs() {
    fill(thumbs, images.map((data, at) => h("span", { class: "thumb" }, h("img", { src: data, alt: `Picture ${at + 1}` }),
      button("✕", () => {
      images.splice(at, 1);
      drawThumbs();
    }, { "aria-label": `Remove picture ${at + 1}` }))));
  }
  /** Pictures first when there is no room for all. */
  function keep() {
    const small = turns.slice(-60);
    if (!remember("chat", small)) remember("chat", small.map(({ images: _, ...rest }) => rest));
  }
  const atEnd = () => thread.scrollHeight - thread.scrollTop - thread.clientHeight < 60;
  const toEnd = () => { thread.scrollTop = thread.scrollHeight; };

  /** @param {Turn} turn @param {number} at */
  function turnElement(turn, at) {
    const actions = h("div", { class: "row turn-actions" }, button("Copy", () => copy(turn.text), { class: "quiet" }),
      turn.role === "user" ? button("Edit", () => edit(at), { class: "quiet" })
        : button("Again", () => again(at), { class: "quiet" }));
    if (turn.role === "user") {
      return h("article", { class: "turn user", "aria-label": "You" }, turn.images?.map((data) => h("img",
        { src: data, alt: "Your picture" })), h("div", { class: "words" }, turn.text), actions);
    }
    return h("article", { class: "turn assistant", "aria-label": "Answer" },
      turn.thought && h("details", null, h("summary", null, `Reasoning, ${turn.thought.length} characters`),
        h("pre", { class: "thought" }, turn.thought)),
      markdown(turn.text), turn.error && h("p", { class: "bad", role: "alert" }, turn.error),
        turn.note && h("p", { class: "muted small-text" }, turn.note), actions);
  }
  function draw() {
    fill(thread, turns.length ? turns.map(turnElement) : empty("Nothing said yet",
      "Choose a model and write. Enter sends, Shift+Enter starts a new line."));
    toEnd();
  }
  /** @param {number} at */
  function edit(at) {
    if (busy) return;
    input.value = turns[at].text;
    images = turns[at].images || [];
    turns = turns.slice(0, at);
    drawThumbs();
    draw();
    keep();
    input.focus();
  }
  /** @param {number} at */
  function again(at) {
    if (busy) return;
    turns = turns.slice(0, at);
    answer();
  }
  function submit() {
    const text = input.value.trim();
    if (busy || (!text && !images.length)) return;
    if (!model.value) return toast("Choose a model first", "error");
    turns.push({ role: "user", text, ...(images.length ? { images } : {}) });
    images = [];
    input.value = "";
    remember("chat-draft", "");
    drawThumbs();
    answer();
  }
  /** Show an answer as it comes. */
  function live() {
    const status = h("p", { class: "muted small-text", role: "status" });
    const thought = h("pre", { class: "thought" });
    const summary = h("summary", null, "Reasoning");
    const box = h("details", { open: true, hidden: true }, summary, thought);
    const words = h("div", { class: "markdown" });
    const element = h("article", { class: "turn assistant live", "aria-label": "Answer", "aria-busy": "true" }, box, words, status);
    return {
      element,
      /** @param {ChatResponse} said @param {string} state */
      draw(said, state) {
        const follow = atEnd();
        const thinking = said.thoughtText;
        if (thinking) {
          box.hidden = false;
          if (thinking.startsWith(thought.textContent || "")) thought.append(thinking.slice((thought.textContent || "").length));
          else setText(thought, thinking);
          setText(summary, said.content ? `Reasoning, ${thinking.length} characters` : "Reasoning …");
        }
        if (said.content && !words.firstChild) box.open = false;
        renderInto(words, said.content);
        setText(status, said.isLoading ? said.loadingText.split("\n").slice(-2).join(" ") || "loading" : state);
        if (follow) toEnd();
      },
    };
  }
  async function answer() {
    const controller = new AbortController();
    busy = controller;
    draw();
    keep();
    const shown = live();
    thread.append(shown.element);
    toEnd();
    setText(send, "Stop");
    const began = performance.now();
    let first = 0;
    const said = new ChatResponse();
    const chosen = /** @type {"chat" | "messages" | "responses"} */ (dialect.value);
    /** @type {Turn} */
    const turn = { role: "assistant", text: "" };
    const number = (/** @type {HTMLInputElement} */ control) => (control.value === "" || Number.isNaN(control.valueAsNumber) ? null
      : control.valueAsNumber);
    const state = () => (first ? "" : `Waiting for ${model.value} … ${duration(performance.now() - began)}`);
    const timer = setInterval(() => shown.draw(said, state()), DRAW_EVERY * 2);
    try {
      const body = chatRequest(chosen, { model: model.value, system: system.value.trim(), temperature: number(temperature),
        limit: number(limit),
        messages: turns.map(({ role, text, images: pictures }) => ({ role, text, images: pictures })) });
      const response = await ask(CHAT_PATHS[chosen], { json: body, signal: controller.signal });
      if ((response.headers.get("content-type") || "").includes("event-stream")) {
        let drawn = 0;
        for await (const event of serverEvents(response)) {
          said.take(event.data);
          if (!first && (said.content || said.thoughtText)) first = performance.now();
          if (performance.now() - drawn > DRAW_EVERY) {
            shown.draw(said, state());
            drawn = performance.now();
          }
        }
        if (!said.isDone && !said.finish && !said.error) turn.error = "The answer broke off.";
      } else {
        const whole = wholeAnswer(await response.json());
        if (whole) Object.assign(said, whole);
        else turn.error = "The answer has a shape that is not known here.";
      }
    } catch (error) {
      turn.error = isAbort(error) ? (said.content || said.thoughtText ? "Stopped." : "Stopped before the first word.")
        : error instanceof TypeError ? "The connection broke." : /** @type {Error} */ (error).message;
    } finally {
      clearInterval(timer);
      turn.text = said.content;
      if (said.thoughtText) turn.thought = said.thoughtText;
      for (const call of said.tools) turn.text += `\n\nCalls **${call.name}**\n\n\`\`\`json\n${call.text}\n\`\`\``;
      turn.error = said.error || turn.error;
      turn.note = noteOf(said, began, first);
      turns.push(turn);
      const follow = atEnd();
      shown.element.replaceWith(turnElement(turn, turns.length - 1));
      if (follow) toEnd();
      busy = null;
      setText(send, "Send");
      keep();
      if (element.isConnected && (document.activeElement === document.body || document.activeElement === send)) input.focus();
    }
  }
  /** @param {ChatResponse} said @param {number} began @param {number} first */
  function noteOf(said, began, first) {
    if (!first) return "";
    const tokens = said.timings?.predicted_n ?? said.usage?.completion_tokens ?? said.usage?.output_tokens;
    const seconds = (performance.now() - first) / 1000;
    const rate = said.timings?.predicted_per_second || (tokens && seconds > 0.05 ? tokens / seconds : 0);
    return [model.value, `first token after ${duration(first - began)}`, tokens && `${tokens} tokens`,
      rate && `${speed(rate)} tokens/s`,
      said.finish && said.finish !== "stop" && said.finish !== "end_turn" && said.finish !== "completed"
        ? `ended by ${said.finish}` : ""].filter(Boolean).join(" · ");
  }
  draw();
  requestAnimationFrame(toEnd);
  const element = h("div", { class: "chat" },
    h("div", { class: "row" }, field("Model", model, "inline grow"), h("details", { class: "menu" },
      h("summary", null, "Settings"), h("div", { class: "menu-body wide" },
      field("Endpoint", dialect), field("System prompt", system), field("Temperature", temperature), field("Most tokens", limit))),
    button("New chat", () => {
      busy?.abort();
      turns = [];
      keep();
      draw();
      input.focus();
    })),
    thread, thumbs, h("form", { class: "row composer", onsubmit: (/** @type {Event} */ event) => event.preventDefault() }, input,
      file,
      button("Picture", () => file.click(), { class: "quiet" }), send));
  return element;
}
