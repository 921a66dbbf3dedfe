// @ts-check
/** Formats numbers and times. Pure. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** @param {number | null | undefined} n */
export function count(n) {
  return n === null || n === undefined || n < 0 ? "–" : whole.format(n);
}

/** Paths whose answers have no generated tokens. */
const SILENT = /\/(?:embeddings?|rerank(?:ing)?|score|pooling|classify|tokenize|detokenize|count_tokens|input_tokens)$/;

/**
 * What is known of a row's tokens; null is unknown. A server that counted nothing is recorded with zeros (as llama-swap
 * does), and so is each count that it did not tell.
 * @param {any} row
 * @returns {{input: number | null, output: number | null, cached: number | null}}
 */
export function tokensOf(row) {
  const t = row.tokens || {};
  const input = t.input_tokens > 0 ? t.input_tokens : null;
  const cached = t.cache_tokens > 0 || (t.cache_tokens === 0 && input !== null) ? t.cache_tokens : null;
  const isCounted = input !== null || t.cache_tokens > 0;
  const output = t.output_tokens > 0 ? t.output_tokens
    : t.output_tokens === 0 && isCounted && row.resp_status_code === 200 && !SILENT.test(row.req_path || "") ? 0 : null;
  // All of the prompt came from the cache: then nothing was left to read.
  return { input: input === null && t.input_tokens === 0 && t.cache_tokens > 0 ? 0 : input, output, cached };
}

/**
 * Sums over rows; a sum of nothing known is unknown.
 * @param {any} stats
 * @returns {{input: number | null, output: number | null, cached: number | null}}
 */
export function tokenSums(stats) {
  const [input, output, cached] = [stats.total_input_tokens, stats.total_output_tokens, stats.total_cache_tokens];
  if (!stats.total_requests) return { input: 0, output: 0, cached: 0 };
  return { input: input || null, output: output || null, cached: cached || null };
}

/**
 * How long ago, in words.
 * @param {number} ms
 */
export function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  const days = Math.floor(seconds / 86_400);
  return `${days} ${days === 1 ? "day" : "days"} ago`;
}

/**
 * Milliseconds as a duration.
 * @param {number | null | undefined} ms
 */
export function duration(ms) {
  if (ms === null || ms === undefined || ms < 0) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const minutes = Math.floor(ms / 60_000);
  const seconds = Math.floor((ms % 60_000) / 1000);
  if (minutes < 60) return `${minutes} min ${String(seconds).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** @param {number | null | undefined} n */
export function bytes(n) {
  if (n === null || n === undefined || n < 0) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${at && n < 100 ? +n.toPrecision(3) : Math.round(n)} ${units[at]}`;
}

/**
 * Tokens per second; nothing known gives a dash.
 * @param {number | null | undefined} n
 */
export function speed(n) {
  if (!n || n <= 0) return "–";
  return n >= 100 ? whole.format(n) : n.toFixed(1);
}

/**
 * A context length, short.
 * @param {number} n
 */
export function context(n) {
  if (n >= 1_000_000) return `${+(n / 1_000_000).toFixed(1)}M`;
  return n >= 1000 ? `${Math.round(n / 1000)}K` : String(n);
}

/**
 * The time of day today, the date before that.
 * @param {string | Date} stamp
 */
export function clock(stamp) {
  const at = new Date(stamp);
  if (Number.isNaN(at.getTime())) return String(stamp);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

/**
 * RFC 3339 without fractions, as the server takes it.
 * @param {Date} at
 */
export function rfc3339(at) {
  return at.toISOString().replace(/\.\d+Z$/, "Z");
}

/**
 * Names in an order people expect: a2 before a10.
 * @param {string} a
 * @param {string} b
 */
export function byName(a, b) {
  return order.compare(a, b) || (a === b ? 0 : a < b ? -1 : 1);
}

const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
