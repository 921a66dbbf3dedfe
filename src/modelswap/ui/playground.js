// @ts-check
/** Trying models out. The panes stay as they are while other views are looked at. */

import { chatPane } from "./chat.js";
import { want } from "./choice.js";
import { h, remember, remembered, tabs } from "./dom.js";
import { embeddingsPane, imagePane, rerankPane, speechPane, transcriptionPane } from "./forms.js";
import { loadTestPane } from "./loadtest.js";

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

/** @param {import("./app.js").Route} route */
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
  return {
    title: "Playground",
    element: h("div", { class: "fill" }, h("h1", null, "Playground"), tabs("What to try",
      Object.entries(PANES).map(([id, [title]]) => [id, title]), current, (name) => {
      history.replaceState(null, "", `#/playground/${name}`);
      show(name);
    }), place),
    stop() {},
  };
}
