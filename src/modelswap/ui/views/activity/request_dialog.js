// @ts-check
/** Shows one finished request: its figures, and its capture where there is one. */

import { requestAddress } from "../../lib/route.js";
import { EventParser, RequestError, askJson, pathSegment } from "../../api/client.js";
import { button, copy, dialog, empty, fill, h, save, tabs, toast } from "../../lib/dom.js";
import { bytes, clock, count, duration, speed, tokensOf } from "../../lib/format.js";
import { hasScope, sessionKnown } from "../../api/permissions.js";
import { ChatResponse, conversation, wholeAnswer } from "../../api/dialects.js";
import { markdown } from "../../lib/markdown.js";

const SHOWN = 200_000; // characters of a body put on the page at once

/**
 * @param {string | null} base64
 * @returns {Uint8Array | null}
 */
function decode(base64) {
  if (base64 === null || base64 === undefined) return null;
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

/** @param {any} row */
function facts(row) {
  const t = row.tokens;
  const known = tokensOf(row);
  /** @type {[string, any][]} */
  const list = [
    ["Model", row.requested && row.requested !== row.model ? `${row.model} (asked for as ${row.requested})` : row.model],
    ["Path", row.req_path],
    ["Status", `${row.resp_status_code}${row.ending && row.ending !== "done" ? ` · ${row.ending.replaceAll("_", " ")}` : ""}`],
    ["Error", row.error_msg],
    ["Began", row.started && clock(row.started)],
    ["Ended", clock(row.timestamp)],
    ["Duration", duration(row.duration_ms)],
    ["Waited", row.queue_ms === undefined ? "" : duration(row.queue_ms)],
    ["Of it for loading", row.load_ms ? duration(row.load_ms) : ""],
    ["First token", row.ttft_ms === undefined ? "" : duration(row.ttft_ms)],
    ["Prompt tokens", `${count(known.input)}${known.cached ? ` + ${count(known.cached)} cached` : ""}`],
    ["Generated tokens", count(known.output)],
    ["Prompt speed", t.prompt_per_second > 0 ? `${speed(t.prompt_per_second)} tokens/s` : ""],
    ["Speed", t.tokens_per_second > 0 ? `${speed(t.tokens_per_second)} tokens/s` : ""],
    ["Speed on the wall clock", row.wall_per_second ? `${speed(row.wall_per_second)} tokens/s` : ""],
    ["Drafted", t.draft_tokens > 0 ? `${count(t.draft_acc_tokens)} of ${count(t.draft_tokens)} accepted` : ""],
    ["Finish reason", row.finish_reason],
    ["Bytes", `${bytes(row.bytes_in)} in, ${bytes(row.bytes_out)} out`],
    ["Content type", row.resp_content_type],
    ["Streamed", row.stream ? "yes" : "no"],
    ["Client", row.client],
    ["Key", row.key],
    ...Object.entries(row.metadata || {}),
  ];
  return h("dl", { class: "facts" }, list.filter(([, value]) => value).map(([name, value]) =>
    h("div", null, h("dt", null, name), h("dd", { class: name === "Error" ? "bad" : "" }, String(value)))));
}

/** @param {Record<string, string> | null} headers */
function headerTable(headers) {
  const rows = Object.entries(headers || {});
  if (!rows.length) return h("p", { class: "muted" }, "Not kept.");
  return h("div", { class: "scroll" }, h("table", { class: "plain" }, h("tbody", null, rows.map(([name, value]) =>
    h("tr", null, h("th", { scope: "row" }, name), h("td", { class: "mono wrap" }, value))))));
}

/** @param {string} text */
function textBlock(text) {
  const pre = h("pre", { class: "code", tabindex: "0" }, text.slice(0, SHOWN));
  if (text.length <= SHOWN) return pre;
  const more = button(`Show all ${bytes(text.length)}`, () => {
    pre.textContent = text;
    more.remove();
  });
  return h("div", null, pre, more);
}

/**
 * The text of a response.
 * @param {ChatResponse} answer
 */
function answerBlock(answer) {
  return h("div", { class: "said" },
    answer.loadingText && h("details", null, h("summary", null, "While loading"),
      h("pre", { class: "thought" }, answer.loadingText)),
    answer.thoughtText && h("details", { open: true }, h("summary", null, "Reasoning"),
      h("pre", { class: "thought" }, answer.thoughtText)),
    markdown(answer.content),
    answer.tools.map((call) => h("div", { class: "tool" }, h("strong", null, `Calls ${call.name}`),
      h("pre", { class: "code" }, call.text))),
    answer.error && h("p", { class: "bad" }, answer.error),
    !answer.content && !answer.thoughtText && !answer.tools.length && !answer.error
      && h("p", { class: "muted" }, "No text in it."));
}

/** @param {string} text */
function streamed(text) {
  const parser = new EventParser();
  const answer = new ChatResponse();
  for (const event of [...parser.feed(text), ...parser.flush()]) answer.take(event.data);
  return answer;
}

/**
 * The forms in which a body can be shown, the best first.
 * @param {Uint8Array} data
 * @param {string} kind content type
 * @param {boolean} isRequest
 * @returns {[string, string, () => any][]}
 */
function looks(data, kind, isRequest) {
  if (kind.startsWith("image/")) {
    const shown = URL.createObjectURL(new Blob([/** @type {BlobPart} */ (data)], { type: kind.split(";")[0] }));
    return [["image", "Image", () => h("img", { src: shown, alt: "The answer, an image", class: "picture" })]];
  }
  const text = new TextDecoder().decode(data);
  if (data.subarray(0, 4096).includes(0)) return [["binary", "Binary", () => h("p", { class: "muted" },
    `${bytes(data.length)} that are not text.`)]];
  /** @type {[string, string, () => any][]} */
  const found = [];
  if (kind.includes("event-stream")) found.push(["chat", "As it reads", () => answerBlock(streamed(text))]);
  /** @type {any} */
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  if (parsed && typeof parsed === "object") {
    const said = isRequest ? conversation(parsed) : null;
    if (said) {
      found.push(["chat", "As it reads", () => h("div", { class: "said" }, said.map(({ role, text: words }) =>
        h("section", { class: "turn" }, h("strong", null, role), h("pre", { class: "thought" }, words))))]);
    }
    const whole = isRequest ? null : wholeAnswer(parsed);
    if (whole) found.push(["chat", "As it reads", () => answerBlock(whole)]);
    found.push(["pretty", "Indented", () => textBlock(JSON.stringify(parsed, null, 2))]);
  }
  found.push(["raw", "Raw", () => textBlock(text)]);
  return found;
}

/**
 * @param {string} name
 * @param {string | null} base64
 * @param {Record<string, string> | null} headers
 * @param {{isRequest: boolean, truncated: boolean, id: number}} of
 */
function body(name, base64, headers, { isRequest, truncated, id }) {
  const data = decode(base64);
  if (!data || !data.length) return h("p", { class: "muted" }, "Empty, or not kept.");
  const kind = (Object.entries(headers || {}).find(([key]) => key.toLowerCase() === "content-type")?.[1] || "").toLowerCase();
  const ways = looks(data, kind, isRequest);
  const place = h("div");
  const show = (/** @type {string} */ way) => fill(place, ways.find(([each]) => each === way)?.[2]());
  show(ways[0][0]);
  return h("div", null,
    truncated && h("p", { class: "bad" }, "Only the beginning was kept: the rest was too large for the capture buffer."),
    h("div", { class: "row" },
      ways.length > 1 && tabs(`How to show the ${name}`, ways.map(([way, label]) => [way, label]), ways[0][0], show),
      h("span", { class: "muted grow" }, bytes(data.length)),
      button("Copy", () => copy(new TextDecoder().decode(data)), { class: "quiet" }),
      button("Save", () => save(`capture-${id}-${isRequest ? "request" : "response"}`, /** @type {BlobPart} */ (data),
        kind || "application/octet-stream"), { class: "quiet" })),
    place);
}

/** @param {any} capture */
function sections(capture) {
  const id = capture.id;
  return [
    h("details", { open: true }, h("summary", null, "Request"),
      body("request", capture.req_body, capture.req_headers, { isRequest: true, truncated: capture.req_truncated, id })),
    h("details", { open: true }, h("summary", null, "Response"),
      body("response", capture.resp_body, capture.resp_headers, { isRequest: false, truncated: capture.resp_truncated, id })),
    h("details", null, h("summary", null, "Request headers"), headerTable(capture.req_headers)),
    h("details", null, h("summary", null, "Response headers"), headerTable(capture.resp_headers)),
  ];
}

/** @type {Map<string, any>} rows that were on the screen a moment ago */
const recent = new Map();

/**
 * Remember rows of the list, so that a dialog opens without a request.
 * @param {any[]} rows
 */
export function rememberRows(rows) {
  recent.clear();
  for (const row of rows) recent.set(String(row.id), row);
}

/** @param {any} row @param {Element} place */
async function fetchCapture(row, place) {
  const none = "Headers and bodies of this request are not kept (any more).";
  if (!row.has_capture) return fill(place, h("p", { class: "muted" }, none));
  await sessionKnown();
  if (!hasScope("admin")) return fill(place, h("p", { class: "muted" },
    "Headers and bodies are shown to keys with the scope “admin” only."));
  fill(place, h("p", { class: "muted" }, "Fetching what was kept …"));
  place.setAttribute("aria-busy", "true");
  try {
    fill(place, sections(await askJson(`/api/captures/${row.id}`)));
  } catch (error) {
    fill(place, h("p", { class: "muted" }, error instanceof RequestError && error.status === 404 ? none
      : /** @type {Error} */ (error).message));
  }
  place.removeAttribute("aria-busy");
}

/**
 * Open the dialog of a request.
 * @param {string} id
 * @param {() => void} onclose
 */
export function showRequest(id, onclose) {
  const content = h("div", null, h("p", { class: "muted" }, "…"));
  const box = dialog(`Request ${id}`, content, { onclose,
    focus: () => document.querySelector(`[data-id="${CSS.escape(id)}"] button`) });
  const gone = () => fill(content, empty("Not in the list (any more)",
    `There is no request ${id}: its row was removed, or it never was. The newest are in the `,
    h("a", { href: "#/activity" }, "list"), "."));
  async function draw() {
    let row = recent.get(id);
    if (!row && /^[1-9]\d{0,17}$/.test(id)) {
      try {
        row = (await askJson("/api/metrics/activity", { query: { min_id: id, max_id: id } })).data[0];
      } catch (error) {
        return fill(content, empty("The request could not be fetched", /** @type {Error} */ (error).message, " ",
          button("Try again", draw, { class: "link" })));
      }
    }
    if (!row) return gone();
    const place = h("div", { class: "capture" });
    const link = new URL(requestAddress(id), location.href).href;
    fill(content, h("p", { class: "row request-link" }, h("a", { href: requestAddress(id), class: "mono" }, link),
      button("Copy link", () => copy(link), { class: "quiet" })), facts(row), place);
    fetchCapture(row, place);
  }
  draw();
  return box;
}

/**
 * End a running request.
 * @param {string} id
 */
export async function cancel(id) {
  try {
    await askJson(`/api/inflight/${pathSegment(id)}/cancel`, { method: "POST" });
  } catch (error) {
    if (!(error instanceof RequestError && error.status === 404)) toast(`Not cancelled: ${/** @type {Error} */ (error).message}`, "error");
  }
}
