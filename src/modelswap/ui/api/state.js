// @ts-check
/**
 * Holds the state of the page and updates it from the event stream.
 *
 * Guarantees: the page has one connection. After a loss the state stays on the screen, and the page
 * reconnects from the last event, with a growing back-off. A page that is hidden for a minute closes
 * its connection: browsers allow only six per server.
 */

import { RequestError, ask, askJson, serverEvents, sleep } from "./client.js";
import { byName } from "../lib/format.js";

/**
 * @typedef {{id: string, name: string, description: string, state: string, unlisted: boolean,
 *   peerID: string, aliases?: string[], capabilities?: Record<string, boolean>,
 *   context_length?: number, failure?: string, failure_class?: string, failed_at?: string, retry_at?: string,
 *   failure_log?: string[]}} Model
 * @typedef {{source: string, models: string[], phase: "resolving" | "downloading" | "stalled" | "finished" | "failed" | "cancelled",
 *   done: number, total: number | null, text: string, words: string}} Pull
 * @typedef {{key: string, scopes: string[], models: string[]}} Session
 * @typedef {{id: string, timestamp: string, model: string, req_path: string, method: string,
 *   req_headers: Record<string, string>, remote_ip: string, resp_headers: Record<string, string>,
 *   resp_bytes: number, elapsed_ms: number, seen: number}} Running
 */

export const state = {
  /** @type {"connecting" | "connected" | "lost" | "refused"} */
  connection: "connecting",
  /** Why there is no connection. */
  reason: "",
  /** Whether anything has ever arrived. */
  known: false,
  /** @type {Model[]} */
  models: [],
  /** @type {Pull[]} that run, and that ended lately */
  pulls: [],
  /** @type {Map<string, Running>} */
  inflight: new Map(),
  /** @type {string | null} */
  profile: null,
  /** @type {{id: string, description: string, pins: Record<string, string | null>}[]} */
  profiles: [],
  /** @type {any} */
  config: null,
  /** @type {string[]} */
  sessionHeaders: [],
  version: "",
  /** @type {Session | null} what this page's key may do; null: not known yet */
  session: null,
};

/** @typedef {"connection" | "models" | "pulls" | "inflight" | "profile" | "config" | "activity" | "fresh" | "session" | "decision"} Topic */

/** @type {Map<Topic, Set<() => void>>} */
const listeners = new Map();

/**
 * Call a listener when one of these parts of the state has changed.
 * @param {() => void} listener
 * @param {Topic[]} topics
 * @returns {() => void} ends it
 */
export function subscribe(listener, ...topics) {
  for (const topic of topics) listeners.set(topic, (listeners.get(topic) || new Set()).add(listener));
  return () => topics.forEach((topic) => listeners.get(topic)?.delete(listener));
}

/** @param {Topic} topic */
export function notify(topic) {
  for (const listener of [...(listeners.get(topic) || [])]) listener();
}

/** @type {Set<Topic>} */
const due = new Set();

/**
 * Notify soon, and once for many changes: hundreds of requests may run.
 * @param {Topic} topic
 */
function tellSoon(topic) {
  if (!due.size) {
    setTimeout(() => {
      const topics = [...due];
      due.clear();
      topics.forEach(notify);
    }, 100);
  }
  due.add(topic);
}

/** @param {string} id */
export function modelOf(id) {
  return state.models.find((model) => model.id === id || model.aliases?.includes(id));
}

/**
 * Requests that run now, the oldest first.
 * @param {string} [model]
 */
export function running(model) {
  const all = [...state.inflight.values()].filter((each) => !model || each.model === model);
  return all.sort((a, b) => (a.timestamp < b.timestamp ? -1 : 1));
}

// Logs

export const MOST_LINES = 5000;

/** The newest lines of one log. */
export class LogBuffer {
  constructor() {
    /** @type {string[]} */
    this.lines = [];
    /** How many lines have ever been taken. */
    this.total = 0;
    this.generation = 0;
    this.rest = "";
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /** @param {string} text */
  take(text) {
    if (!text) return;
    const found = (this.rest + text).split("\n");
    this.rest = (found.pop() || "").slice(-16_384);
    for (const line of found) this.lines.push(line.length > 8192 ? `${line.slice(0, 8192)} …` : line);
    this.total += found.length;
    if (this.lines.length > MOST_LINES * 2) this.lines.splice(0, this.lines.length - MOST_LINES);
    for (const listener of this.listeners) listener();
  }

  clear() {
    this.lines = [];
    this.rest = "";
    this.total = 0;
    this.generation += 1;
    for (const listener of this.listeners) listener();
  }

  /** @param {() => void} listener */
  watch(listener) {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
}

/** @type {Record<string, LogBuffer>} */
export const logs = { proxy: new LogBuffer(), upstream: new LogBuffer() };

// Events

/** @type {Record<string, (data: any, whole: boolean) => void>} */
const takers = {
  logData(data, whole) {
    const log = logs[data.source];
    if (!log) return;
    if (whole) log.clear();
    log.take(data.data);
  },
  modelStatus(data) {
    state.models = [...data].sort((a, b) => byName(a.name || a.id, b.name || b.id) || byName(a.id, b.id));
    state.known = true;
    notify("models");
  },
  pulls(data) {
    state.pulls = data;
    notify("pulls");
  },
  uiConfig(data) {
    state.sessionHeaders = data?.activity?.session_id || [];
  },
  profileChanged(data) {
    state.profile = data.active;
    notify("profile");
  },
  configStatus(data) {
    state.config = data;
    notify("config");
    refreshFacts();
  },
  activity() {
    notify("activity");
  },
  decision() {
    tellSoon("decision");
  },
  inflight(data) {
    const seen = performance.now();
    if (data.operation === "snapshot") {
      state.inflight = new Map((data.requests || []).map((/** @type {Running} */ each) => [each.id, { ...each, seen }]));
    } else if (data.operation === "upsert") {
      state.inflight.set(data.request.id, { ...data.request, seen });
    } else if (data.operation === "remove") {
      state.inflight.delete(data.id);
    }
    tellSoon("inflight");
  },
};

const EVERYTHING = { key: "", scopes: ["admin", "inference", "read"], models: [] };

/** Find out what the key may do. Where that cannot be found out, the server refuses what is not allowed. */
async function askSession() {
  try {
    state.session = await askJson("/api/session");
  } catch (error) {
    if (!(error instanceof RequestError) || error.status < 400) return; // the next connection tries again
    state.session = EVERYTHING;
  }
  notify("session");
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let factsDue;

/** Profiles, version and keys change with a reload or a restart only. */
function refreshFacts() {
  clearTimeout(factsDue);
  factsDue = setTimeout(async () => {
    await askSession();
    try {
      const [profiles, version] = await Promise.all([askJson("/api/profiles"), askJson("/api/version")]);
      state.profiles = profiles.profiles;
      state.profile = profiles.active;
      state.version = version.version;
      notify("profile");
    } catch {
      // The next event will bring another chance.
    }
  }, 50);
}

let lastId = "";

/** @param {import("./client.js").ServerEvent} event */
function take(event) {
  try {
    const { type, data } = JSON.parse(event.data);
    // Events of the present state carry no id (but its last one, the configuration's).
    takers[type]?.(JSON.parse(data), !event.id);
  } catch (error) {
    console.warn("an event that cannot be read", error);
  }
  if (event.id) lastId = event.id;
}

const SILENCE = 25_000; // ms; the server says something every 15 s, and may be late by some
const HIDDEN = 60_000; // ms

/**
 * @param {"connecting" | "connected" | "lost" | "refused"} connection
 * @param {string} [reason]
 */
function become(connection, reason = "") {
  if (state.connection === connection && state.reason === reason) return;
  state.connection = connection;
  state.reason = reason;
  notify("connection");
}

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const refresh = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", refresh);
      resolve(undefined);
    };
    document.addEventListener("visibilitychange", refresh);
  });
}

/** One connection, from its beginning to its end. */
async function connection() {
  const controller = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let silence;
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(() => controller.abort(), SILENCE);
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let leave;
  let isLeft = false; // on purpose: no loss to report
  const refresh = () => {
    clearTimeout(leave);
    if (document.hidden) leave = setTimeout(() => {
      isLeft = true;
      controller.abort();
    }, HIDDEN);
  };
  document.addEventListener("visibilitychange", refresh);
  alive();
  try {
    const resumed = lastId !== "";
    const headers = resumed ? { "Last-Event-ID": lastId } : undefined;
    const response = await ask("/api/events", { headers, signal: controller.signal });
    become("connected");
    if (resumed) void catchUp();
    notify("fresh");
    for await (const event of serverEvents(response, alive)) take(event);
  } catch (error) {
    if (!isLeft) throw error;
  } finally {
    clearTimeout(silence);
    clearTimeout(leave);
    document.removeEventListener("visibilitychange", refresh);
    controller.abort();
  }
  return isLeft;
}

/** Progress of requests is not replayed. */
async function catchUp() {
  try {
    takers.inflight({ operation: "snapshot", requests: (await askJson("/api/inflight")).requests }, true);
  } catch {
    // Then the events will do.
  }
}

/** Follow the event stream until the page is closed. */
export async function follow() {
  let pause = 250;
  for (;;) {
    await visible();
    try {
      const began = performance.now();
      const isLeft = await connection();
      if (performance.now() - began > 5000) pause = 250;
      if (isLeft) {
        become("connecting");
        continue;
      }
      become("lost", "The server ended the connection");
    } catch (error) {
      const failure = error instanceof RequestError ? error : null;
      const refused = failure && (failure.status === 401 || failure.status === 403);
      become(refused ? "refused" : "lost", failure ? failure.message : "The connection broke");
    }
    // Each refusal may make the browser ask for a password: not every few seconds.
    await sleep(state.connection === "refused" ? 30_000 : pause);
    pause = Math.min(pause * 2, 3000);
  }
}
