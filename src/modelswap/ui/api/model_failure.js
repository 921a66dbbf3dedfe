// @ts-check
/** Describes why a model did not start or exited, and when it may be started again. Pure. */

import { ago, clock } from "../lib/format.js";

/** @typedef {import("./state.js").Model} Model */

/** @type {Record<string, string>} classes of `core/failure.py`; others are shown by their name */
const CAUSES = {
  cannot_start: "program cannot be started",
  unknown_argument: "argument not known or not valid",
  bad_model: "model file cannot be used",
  no_device: "no usable GPU",
  container: "container cannot be started",
  network: "another machine cannot be reached",
  not_ready: "not ready in time",
  killed: "server was killed",
  crashed: "server crashed",
  exited: "server ended",
};

/** @param {string | undefined} text */
function moment(text) {
  const at = text ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
}

/**
 * Whether the last start failed, or the server died and was not started again.
 * @param {Model} model
 */
export function hasFailed(model) {
  return model.state === "stopped" && Boolean(model.failure || model.failure_class || model.failed_at);
}

/**
 * The state to show: that of the server, and `failed` for a stopped one with a reason.
 * @param {Model} model
 */
export function stateOf(model) {
  return hasFailed(model) ? "failed" : model.state;
}

/**
 * What there is to say about a failure; null without one.
 * @param {Model} model
 * @param {number} now ms since 1970
 * @returns {{cause: string, reason: string, since: string, next: string, waits: boolean} | null}
 */
export function failureOf(model, now) {
  if (!hasFailed(model)) return null;
  const cause = model.failure_class ? CAUSES[model.failure_class] || model.failure_class.replaceAll("_", " ") : "";
  const since = moment(model.failed_at);
  const retry = moment(model.retry_at);
  const left = retry === null ? 0 : Math.ceil((retry - now) / 1000);
  return {
    cause,
    reason: model.failure || cause || "for a reason that is not known",
    since: since === null ? "" : `since ${clock(new Date(since))} (${ago(now - since)})`,
    next: left > 0 ? `requests start it again in ${left < 120 ? `${left} s` : `${Math.ceil(left / 60)} min`}`
      : "the next request starts it again",
    waits: left > 0,
  };
}
