// @ts-check
/** Shows one model: its requests, its log, its details. */

import { activityList } from "../activity/activity.js";
import { askJson, pathSegment } from "../../api/client.js";
import { empty, fill, h, setText, tabs } from "../../lib/dom.js";
import { logPanel, streamOf } from "../logs.js";
import { failureBlock, loadButton, shownState, statePlace, upstreamLink } from "./model_row.js";
import { planPanel } from "./plan.js";
import { hasScope } from "../../api/permissions.js";
import { pullBar, pullOf } from "./pulls.js";
import { runningCard } from "../activity/running_requests.js";
import { clock } from "../../lib/format.js";
import { modelOf, subscribe, state } from "../../api/state.js";

/** @typedef {import("../../api/state.js").Model} Model */

/** @param {Model} model @param {any} record @param {any} live */
function details(model, record, live) {
  const meta = { ...(record?.meta?.llamaswap || {}) };
  for (const name of ["type", "aliases", "modelID"]) delete meta[name];
  const pairs = [["Id", model.id], ["Name", model.name], ["Aliases", (model.aliases || []).join(", ")],
    ["Server", model.peerID || "this one"],
    ["Context", model.context_length ? `${model.context_length} tokens` : ""],
      ["Abilities", Object.keys(model.capabilities || {}).join(", ").replaceAll("_", " ")],
    ["Modality", record?.architecture?.modality], ["Idle time before it is unloaded",
      live?.ttl ? `${live.ttl} s` : live ? "unlimited" : ""], ["Unloads at", live?.expires_at && clock(live.expires_at)], ["Process", live?.pid], ["Address", live?.proxy],
    ...Object.entries(meta).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)])];
  return h("section", { class: "card" }, h("dl", { class: "facts" }, pairs.filter(([, value]) => value)
    .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, String(value))))),
    live?.cmd ? [h("h3", null, "Command"), h("pre", { class: "code", tabindex: "0" }, live.cmd)]
      : h("p", { class: "muted" }, "Process, address and command are shown while the model runs."));
}

/** @param {import("../../lib/route.js").Route} route @param {string} asked */
export function modelView(route, asked) {
  const panel = h("div", { role: "tabpanel" });
  const title = h("h1", null, asked);
  const tag = statePlace();
  const failure = failureBlock();
  const pull = pullBar();
  const about = h("p", { class: "muted" });
  const { control, update } = loadButton();
  const actions = h("div", { class: "row actions" });
  const trial = h("a", { class: "button" }, "Try it");
  /** @type {(() => void)[]} */
  let stops = [];
  let tab = route.query.get("tab") || "activity";
  const stopPanel = () => {
    stops.forEach((end) => end());
    stops = [];
  };
  async function drawDetails() {
    const model = modelOf(asked);
    if (!model) return;
    const [record, live] = await Promise.all([hasScope("inference") ? askJson(`/v1/models/${pathSegment(model.id)}`).catch(() => null) : null,
      askJson("/running").then((found) => found.running.find((/** @type {any} */ each) => each.model === model.id)).catch(() => null)]);
    if (tab === "details") fill(panel, details(model, record, live));
  }
  function show(/** @type {string} */ wanted) {
    tab = wanted;
    stopPanel();
    const id = modelOf(asked)?.id || asked;
    if (tab === "logs") {
      const stream = streamOf(id);
      const logged = logPanel({ name: `model-${id}`, label: `Log of ${id}`, lines: stream.lines, note: stream.note });
      fill(panel, h("section", { class: "card log-card" }, logged.element));
      stops = [logged.stop, stream.stop];
    } else if (tab === "plan") {
      const plan = planPanel(id);
      fill(panel, plan.element);
      stops = [plan.stop];
    } else if (tab === "details") {
      fill(panel, h("p", { class: "muted" }, "…"));
      drawDetails();
    } else {
      const now = runningCard(id);
      const list = activityList({ query: route.query, model: id, setQuery: (query) => route.setQuery({ ...query, model: "" }) });
      fill(panel, now.element, list.element);
      stops = [now.stop, list.stop];
    }
  }
  const bar = tabs("Of this model", [["activity", "Activity"], ["logs", "Log"], ["plan", "Plan"], ["details", "Details"]], tab, (wanted) => {
    route.setQuery({ tab: wanted === "activity" ? "" : wanted });
    show(wanted);
  });
  const unknown = h("div");
  const known = h("div", null, bar, panel);
  let shown = "";
  function draw() {
    const model = modelOf(asked);
    known.hidden = !model;
    fill(unknown, !model && state.known && empty("No such model", `Nothing is called “${asked}” here (any more). `,
      h("a", { href: "#/models" }, "All models")));
    if (!model) return;
    setText(title, model.name || model.id);
    setText(about, [model.name && model.name !== model.id ? model.id : "", model.description,
      model.aliases?.length ? `also ${model.aliases.join(", ")}` : ""].filter(Boolean).join(" · "));
    if (tag.update(model) && tab === "details" && shownState(model) !== "unknown") drawDetails();
    failure.update(model);
    pull.update(pullOf(model.id));
    update(model);
    if (shown !== model.id) {
      shown = model.id;
      trial.setAttribute("href", `#/playground?model=${pathSegment(model.id)}`);
      fill(actions, trial, !model.peerID && [upstreamLink(model.id), control]);
      show(tab);
    }
    trial.hidden = !hasScope("inference");
    for (const link of actions.querySelectorAll(".needs-admin")) link.hidden = !hasScope("admin");
  }
  const off = subscribe(draw, "models", "pulls", "connection", "session");
  const ticks = setInterval(() => {
    const model = modelOf(asked);
    if (model) failure.update(model);
  }, 1000);
  draw();
  return {
    title: asked,
    element: h("div", null, h("p", { class: "crumbs" }, h("a", { href: "#/models" }, "Models"), " /"),
      h("div", { class: "row head" }, title, tag.element, h("span", { class: "grow" }), actions), about,
      failure.element, pull.element, unknown, known),
    stop() {
      off();
      clearInterval(ticks);
      stopPanel();
    },
  };
}
