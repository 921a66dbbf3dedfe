// @ts-check
/**
 * Sends requests to the server and reads errors and event streams.
 *
 * Does not: handle credentials. After the Basic challenge the browser sends them itself.
 */

/** Without user and password, which `fetch` refuses in an address; with a proxy's prefix. */
const ROOT = location.origin + new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

/** Marks the requests of this page's session. */
const SESSION = `ui-${Math.random().toString(36).slice(2, 8)}`;

/**
 * The address of a path of the server, wherever it is mounted.
 * @param {string} path begins with a slash
 * @param {Record<string, any> | URLSearchParams} [query]
 */
export function url(path, query) {
  const asked = query instanceof URLSearchParams ? query : new URLSearchParams();
  if (!(query instanceof URLSearchParams)) {
    for (const [name, value] of Object.entries(query || {})) {
      if (value !== "" && value !== null && value !== undefined) asked.append(name, String(value));
    }
  }
  const text = asked.toString();
  return ROOT + path + (text ? `?${text}` : "");
}

/**
 * A model id inside a path: slashes, percent signs and all else are encoded.
 * @param {string} id
 */
export function pathSegment(id) {
  return encodeURIComponent(id);
}

/**
 * Ends everything when the page is left: browsers freeze a page they may come back to with its
 * connections open, and allow only six of them.
 */
let leaving = new AbortController();
addEventListener("pagehide", () => {
  leaving.abort();
  leaving = new AbortController();
});

/** @param {AbortSignal | null | undefined} signal */
function untilLeft(signal) {
  if (!signal) return leaving.signal;
  const both = new AbortController();
  for (const each of [signal, leaving.signal]) {
    if (each.aborted) both.abort();
    else each.addEventListener("abort", () => both.abort(), { once: true, signal: both.signal });
  }
  return both.signal;
}

/** The server refused a request, or did not answer. */
export class RequestError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * Find the message in any of the usual shapes of an error body.
 * @param {string} text
 * @returns {string}
 */
export function messageIn(text) {
  try {
    const body = JSON.parse(text);
    for (const found of [body?.error?.message, body?.error, body?.message, body?.detail]) {
      if (typeof found === "string" && found.trim()) return found.trim();
    }
  } catch {
    // Not JSON: the text itself will do.
  }
  return text.trim().slice(0, 500);
}

/**
 * Ask the server; anything but success throws a RequestError with its message.
 * @param {string} path
 * @param {RequestInit & {query?: Record<string, any> | URLSearchParams, json?: any}} [options]
 */
export async function ask(path, options = {}) {
  const { query, json, ...init } = options;
  const headers = new Headers(init.headers);
  headers.set("X-Session-ID", SESSION);
  if (json !== undefined) {
    headers.set("Content-Type", "application/json");
    init.method = init.method || "POST";
    init.body = JSON.stringify(json);
  }
  if (!init.method) headers.set("X-Modelswap-Page", "1"); // what the page reads to stay up to date is not logged
  let response;
  try {
    response = await fetch(url(path, query), { cache: "no-store", redirect: "error", ...init, headers, signal: untilLeft(init.signal) });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new RequestError(0, "The server does not answer");
  }
  if (!response.ok) {
    const text = await response.text().catch(() => "");
    const message = messageIn(text) || `${response.status} ${response.statusText}`;
    throw new RequestError(response.status, response.status === 403 ? `Not allowed: ${message}` : message);
  }
  return response;
}

/**
 * @param {string} path
 * @param {Parameters<typeof ask>[1]} [options]
 * @returns {Promise<any>}
 */
export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

/**
 * Whether the request was aborted, which is no error.
 * @param {unknown} error
 */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** @typedef {{data: string, event: string, id: string}} ServerEvent */

/** Cuts a stream of text into server-sent events; fragments may end anywhere. */
export class EventParser {
  constructor() {
    this.rest = "";
    this.data = /** @type {string[]} */ ([]);
    this.event = "";
    this.id = "";
  }

  /**
   * @param {string} text
   * @returns {ServerEvent[]}
   */
  feed(text) {
    const found = [];
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() || "";
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (this.data.length) found.push({ data: this.data.join("\n"), event: this.event, id: this.id });
        this.data = [];
        this.event = this.id = "";
        continue;
      }
      const colon = line.indexOf(":");
      if (colon === 0) continue;
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name === "data") this.data.push(value);
      else if (name === "event") this.event = value;
      else if (name === "id") this.id = value;
    }
    return found;
  }

  /** What a stream that ended without a blank line leaves. */
  flush() {
    return this.feed(this.rest ? "\n\n" : "\n");
  }
}

/**
 * Read a body as text, piece by piece.
 * @param {Response} response
 * @param {() => void} [onpiece] told of every piece
 */
export async function* textChunks(response, onpiece) {
  if (!response.body) return;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (onpiece) onpiece();
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Read a body as server-sent events.
 * @param {Response} response
 * @param {() => void} [onpiece]
 */
export async function* serverEvents(response, onpiece) {
  const parser = new EventParser();
  for await (const piece of textChunks(response, onpiece)) yield* parser.feed(piece);
  yield* parser.flush();
}

/** @param {number} ms */
export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
