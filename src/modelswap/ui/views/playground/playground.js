// @ts-check
/** Shows the panes of the playground. They keep their content while other views are open. */

import { markShown } from "../../lib/route.js";
import { chatPane } from "./chat.js";
import { chooseModel } from "./model_choice.js";
import { empty, h, remember, remembered, tabs } from "../../lib/dom.js";
import { embeddingsPane, imagePane, rerankPane, speechPane, transcriptionPane } from "./endpoint_forms.js";
import { loadTestPane } from "./load_test.js";
import { hasScope, refusalReason } from "../../api/permissions.js";
import { subscribe, state } from "../../api/state.js";

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

/** @param {import("../../lib/route.js").Route} route */
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
  if (model) chooseModel(model);
  /** A key that may not ask models has nothing to try. */
  const barred = h("section", { class: "card", hidden: true });
  function gate() {
    const isBarred = Boolean(state.session) && !hasScope("inference");
    barred.hidden = !isBarred;
    if (isBarred) barred.replaceChildren(empty("Not with this key", refusalReason("inference")));
    for (const each of [place, bar]) each.hidden = isBarred;
  }
  const bar = tabs("What to try", Object.entries(PANES).map(([id, [title]]) => [id, title]), current, (name) => {
    history.replaceState(null, "", `#/playground/${name}`);
    markShown({ path: ["playground", name], query: new URLSearchParams() });
    show(name);
  });
  const off = subscribe(gate, "session");
  gate();
  return {
    title: "Playground",
    element: h("div", { class: "fill" }, h("h1", null, "Playground"), bar, barred, place),
    stop: off,
  };
}
