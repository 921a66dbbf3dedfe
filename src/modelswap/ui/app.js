// @ts-check
/** Shows the frame around the views: navigation, the state of the connection, and the view of the address. */

import { activityView } from "./views/activity/activity.js";
import { currentRoute, isShown, leaveRequest, markShown } from "./lib/route.js";
import { showRequest } from "./views/activity/request_dialog.js";
import { watchChoices } from "./views/playground/model_choice.js";
import { add, closeDialog, empty, fill, h, icon, setText } from "./lib/dom.js";
import { logsView } from "./views/logs.js";
import { modelView } from "./views/models/model.js";
import { modelsView } from "./views/models/models.js";
import { performanceView } from "./views/performance.js";
import { playgroundView } from "./views/playground/playground.js";
import { nextTheme, settingsView } from "./views/settings.js";
import { follow, subscribe, running, state } from "./api/state.js";

/**
 * @typedef {import("./lib/route.js").Route} Route
 * @typedef {{title: string, element: HTMLElement, stop: () => void}} View
 */

/**
 * Name, title, symbol, and the key that leads there after g.
 * @type {[string, string, any, string][]}
 */
const PLACES = [["activity", "Activity", "activity", "a"], ["models", "Models", "models", "m"],
  ["playground", "Playground", "playground", "y"], ["logs", "Logs", "logs", "l"],
  ["performance", "Performance", "performance", "p"], ["settings", "Settings", "settings", "s"]];

/** @type {Record<string, (route: Route) => View>} */
const VIEWS = {
  activity: activityView,
  models: (route) => (route.path.length > 1 ? modelView(route, route.path.slice(1).join("/")) : modelsView()),
  logs: logsView,
  performance: performanceView,
  playground: playgroundView,
  settings: settingsView,
};

const main = h("main", { id: "main", tabindex: "-1" });
const dot = h("span", { class: "dot", "aria-hidden": "true" });
const word = h("span", { class: "connection-word" });
const banner = h("div", { class: "banner", role: "status", hidden: true });
const problem = h("div", { class: "banner bad", role: "status", hidden: true });
const live = h("span", { class: "count idle" });
const links = PLACES.map(([name, title, symbol]) => h("a", { href: `#/${name}`, "data-place": name },
  icon(/** @type {any} */ (symbol)), h("span", { class: "place", "data-text": title }, title), name === "activity" && live));

/** @type {View | null} */
let view = null;
let first = true;

function show() {
  const route = currentRoute();
  if (!Object.hasOwn(VIEWS, route.path[0])) route.path.splice(0, route.path.length, "activity");
  if (!view || !isShown(route)) open(route);
  request(route.request);
}

/** @param {Route} route */
function open(route) {
  closeDialog();
  view?.stop();
  view = null;
  markShown(route);
  try {
    view = VIEWS[route.path[0]](route);
  } catch (error) {
    console.error(error);
    view = { title: "Error", element: empty("This view has failed", String(error)), stop() {} };
  }
  fill(main, view.element);
  for (const link of links) {
    if (link.dataset.place === route.path[0]) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!first) main.focus({ preventScroll: true });
  first = false;
  scrollTo(0, 0);
  title();
}

/** @type {{id: string, box: any}} */
let shown = { id: "", box: null };

/**
 * Show the request that the address names, or none.
 * @param {string} id
 */
function request(id) {
  if (shown.box?.open) {
    if (shown.id === id) return;
    shown.box.close();
  }
  if (!id) return;
  const box = showRequest(id, () => {
    if (shown.box === box) leaveRequest(id);
  });
  shown = { id, box };
}

function title() {
  const mark = { connected: "", connecting: "… ", lost: "⚠ ", refused: "⚠ " }[state.connection];
  document.title = `${mark}${view ? view.title : ""} · modelswap`;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let late;

function connection() {
  const words = { connected: "Connected", connecting: "Connecting", lost: "Retrying", refused: "Not allowed" };
  dot.className = `dot ${state.connection}`;
  setText(word, words[state.connection]);
  document.documentElement.dataset.connection = state.connection;
  title();
  count();
  clearTimeout(late);
  const showConnection = () => {
    setText(banner, state.connection === "refused" ? `The server refuses this page: ${state.reason}`
      : `Connection lost, retrying. No connection to the server: what you see may be old and cannot be changed. ${state.reason}`);
    banner.hidden = false;
  };
  if (state.connection === "connected") banner.hidden = true;
  else if (state.connection === "connecting") late = setTimeout(showConnection, 2500); // a page that opens is no alarm
  else showConnection();
}

function config() {
  const broken = state.config && !state.config.ok;
  problem.hidden = !broken;
  if (broken) fill(problem, "The configuration on disk has mistakes; the one loaded before goes on. ",
    h("a", { href: "#/settings" }, "See them"));
}

/** The number keeps its place when nothing runs, so that nothing beside it moves. */
function count() {
  const now = state.connection === "connected" ? running().length : 0;
  live.classList.toggle("idle", !now);
  setText(live, now > 99 ? "99+" : String(now));
  if (now) live.setAttribute("aria-label", `${now} running`);
  live.setAttribute("aria-hidden", String(!now));
}

let prefix = 0;

/** @param {KeyboardEvent} event */
function onkey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (event.key === "/") {
    const search = /** @type {HTMLElement | null} */ (main.querySelector("[data-search]"));
    if (search) {
      event.preventDefault();
      search.focus();
    }
  } else if (event.key === "g") {
    prefix = performance.now();
  } else if (performance.now() - prefix < 1500) {
    prefix = 0;
    const place = PLACES.find(([, , , letter]) => letter === event.key);
    if (place) location.hash = `#/${place[0]}`;
  }
}

function begin() {
  const asked = location.pathname.replace(new RegExp("^.*?/ui/?"), "").replace(/^index\.html$/, "");
  if (asked) history.replaceState(null, "", `${new URL(".", import.meta.url).pathname}#/${asked.replace(/\/$/, "")}`);
  const root = /** @type {HTMLElement} */ (document.getElementById("app"));
  root.replaceChildren();
  add(root, h("header", { class: "top" }, h("a", { class: "brand", href: "#/activity", "aria-label": "modelswap, start page" },
    h("img", { src: new URL("favicon.svg", import.meta.url).pathname, alt: "", width: 22, height: 22 }),
    h("span", null, "modelswap")),
    h("nav", { "aria-label": "Views" }, links),
    h("div", { class: "row end" }, h("span", { class: "connection", role: "status" }, dot, word),
      h("button", { type: "button", class: "quiet icon-button", onclick: nextTheme, "aria-label": "Change the colours",
      title: "Colours: system, light, dark" }, icon("theme")))),
  banner, problem, main);
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  addEventListener("hashchange", show);
  addEventListener("modelswap-route", show);
  addEventListener("keydown", onkey);
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(/** @type {Node} */ (event.target))) menu.removeAttribute("open");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll("details.menu[open]").forEach((menu) => menu.removeAttribute("open"));
  });
  subscribe(connection, "connection");
  subscribe(config, "config");
  subscribe(count, "inflight");
  watchChoices();
  show();
  connection();
  void follow();
}

begin();
