// @ts-check
/** Trying models out. The panes stay as they are while other views are looked at. */

import { note } from "./address.js";
import { chatPane } from "./chat.js";
import { want } from "./choice.js";
import { empty, h, remember, remembered, tabs } from "./dom.js";
import { embeddingsPane, imagePane, rerankPane, speechPane, transcriptionPane } from "./forms.js";
import { loadTestPane } from "./loadtest.js";
import { holds, whyNot } from "./permit.js";
import { on, state } from "./state.js";

/** @type {Record<string, [string, () => HTMLElement]>} */
const PANES = {
  chat: ["Chat", chatPane],
  embeddings: ["Embeddings", embeddingsPane],
  rerank: ["Rerank", rerankPane],
  images: ["Images", imagePane],
  speech: ["Speech", speechPane],
  transcription: ["Transcription", transcriptionPane],
  load: ["Load test", loadTestPane],
};

/** @type {Map<string, HTMLElement>} */
const made = new Map();

/** @param {import("./address.js").Route} route */
export function playgroundView(route) {
  const place = h("section", { class: "card pane", role: "tabpanel" });
  const asked = route.path[1] || remembered("pane", "chat");
  const current = Object.hasOwn(PANES, asked) ? asked : "chat";
  /** @param {string} name */
  function show(name) {
    if (!made.has(name)) made.set(name, PANES[name][1]());
    place.replaceChildren(/** @type {HTMLElement} */ (made.get(name)));
    place.setAttribute("aria-label", PANES[name][0]);
    place.classList.toggle("tall", name === "chat");
    remember("pane", name);
  }
  const model = route.query.get("model");
  show(current);
  if (model) want(model);
  /** A key that may not ask models has nothing to try. */
  const barred = h("section", { class: "card", hidden: true });
  function gate() {
    const isBarred = Boolean(state.session) && !holds("inference");
    barred.hidden = !isBarred;
    if (isBarred) barred.replaceChildren(empty("Not with this key", whyNot("inference")));
    for (const each of [place, bar]) each.hidden = isBarred;
  }
  const bar = tabs("What to try", Object.entries(PANES).map(([id, [title]]) => [id, title]), current, (name) => {
    history.replaceState(null, "", `#/playground/${name}`);
    note({ path: ["playground", name], query: new URLSearchParams() });
    show(name);
  });
  const off = on("session", gate);
  gate();
  return {
    title: "Playground",
    element: h("div", { class: "fill" }, h("h1", null, "Playground"), bar, barred, place),
    stop: off,
  };
}
