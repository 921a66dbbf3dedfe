// @ts-check
/** Asks the server for something now and whenever it may have changed, for keys that may read. */

import { askJson } from "../../api/client.js";
import { hasScope } from "../../api/permissions.js";
import { subscribe } from "../../api/state.js";

/**
 * Show the newest answer; returns what ends it.
 * @param {string} path @param {(answer: any) => void} show @param {import("../../api/state.js").Topic} topic
 */
export function follow(path, show, topic) {
  let asked = 0;
  async function draw() {
    if (!hasScope("read")) return;
    const mine = ++asked;
    const answer = await askJson(path).catch(() => null); // the next change asks again
    if (answer && mine === asked) show(answer);
  }
  draw();
  return subscribe(draw, topic, "session");
}
