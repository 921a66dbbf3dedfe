// @ts-check
/** Says what the key of this page allows, and why not more. The server decides; controls follow. */

import { subscribe, state } from "./state.js";

/** @typedef {"admin" | "inference" | "read"} Scope */

const DEEDS = { admin: "change what runs", inference: "send requests to models", read: "see what runs" };

/**
 * Whether the key holds a scope, the connection aside.
 * @param {Scope} scope
 */
export function hasScope(scope) {
  return Boolean(state.session?.scopes.includes(scope));
}

/**
 * Why something cannot be done now; nothing: it can.
 * @param {Scope} scope
 * @returns {string}
 */
export function refusalReason(scope) {
  if (state.connection === "lost") return "No connection to the server";
  if (state.connection === "refused") return "The server refuses this page";
  if (!state.session) return "Asking the server what this key may do";
  return hasScope(scope) ? "" : `This key may not ${DEEDS[scope]}: it lacks the scope “${scope}”`;
}

/**
 * Switch a control on or off; the title says why it is off.
 * @param {any} control
 * @param {Scope} scope
 * @param {{busy?: boolean, title?: string}} [own] what the control's own state asks for
 */
export function permit(control, scope, { busy = false, title = "" } = {}) {
  const why = refusalReason(scope);
  const off = busy || why !== "";
  if (control.disabled !== off) control.disabled = off;
  if (control.title !== (why || title)) control.title = why || title;
}

/** Whether what is on the screen is what is so: not while the connection is lost. */
export function isCurrent() {
  return state.connection === "connected";
}

/** Resolves when the server has said what the key may do. */
export function sessionKnown() {
  return new Promise((resolve) => {
    if (state.session) return resolve(undefined);
    const off = subscribe(() => {
      off();
      resolve(undefined);
    }, "session");
  });
}
