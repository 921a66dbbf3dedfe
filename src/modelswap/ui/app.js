// @ts-check
/** The frame around the views: addresses, navigation, the state of the connection. */

import { activityView } from "./activity.js";
import { watchChoices } from "./choice.js";
import { add, empty, fill, h, icon, say } from "./dom.js";
import { logsView } from "./logs.js";
import { modelView } from "./model.js";
import { modelsView } from "./models.js";
import { performanceView } from "./performance.js";
import { playgroundView } from "./playground.js";
import { nextTheme, settingsView } from "./settings.js";
import { follow, on, running, state } from "./state.js";

/**
 * @typedef {{path: string[], query: URLSearchParams, setQuery: (query: Record<string, string>) => void}} Route
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

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @returns {Route} */
function currentRoute() {
  const hash = location.hash.replace(/^#\/?/, "");
  const cut = hash.indexOf("?");
  const path = (cut < 0 ? hash : hash.slice(0, cut)).split("/").filter(Boolean).map(decoded);
  const query = new URLSearchParams(cut < 0 ? "" : hash.slice(cut + 1));
  if (!Object.hasOwn(VIEWS, path[0] || "")) path.splice(0, path.length, "activity");
  return { path, query, setQuery(wanted) {
    const asked = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value)).toString();
    history.replaceState(null, "", `#/${path.map(encodeURIComponent).join("/")}${asked ? `?${asked}` : ""}`);
  } };
}

const main = h("main", { id: "main", tabindex: "-1" });
const dot = h("span", { class: "dot", "aria-hidden": "true" });
const word = h("span", { class: "connection-word" });
const banner = h("div", { class: "banner", role: "status", hidden: true });
const problem = h("div", { class: "banner bad", role: "status", hidden: true });
const live = h("span", { class: "count", hidden: true });
const links = PLACES.map(([name, title, symbol]) => h("a", { href: `#/${name}`, "data-place": name },
  icon(/** @type {any} */ (symbol)), h("span", null, title), name === "activity" && live));

/** @type {View | null} */
let view = null;
let first = true;

function show() {
  const route = currentRoute();
  view?.stop();
  view = null;
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

function title() {
  const mark = { connected: "", connecting: "… ", lost: "⚠ ", refused: "⚠ " }[state.connection];
  document.title = `${mark}${view ? view.title : ""} · modelswap`;
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let late;

function connection() {
  const words = { connected: "Connected", connecting: "Connecting", lost: "Reconnecting", refused: "Not allowed" };
  dot.className = `dot ${state.connection}`;
  say(word, words[state.connection]);
  title();
  clearTimeout(late);
  if (state.connection === "connected") banner.hidden = true;
  else {
    // A restart of the server takes a moment: no alarm for that.
    late = setTimeout(() => {
      say(banner, state.connection === "refused" ? `The server refuses this page: ${state.reason}`
        : `No connection to the server; it is tried again by itself. What you see may be old. ${state.reason}`);
      banner.hidden = false;
    }, state.connection === "refused" ? 0 : 2500);
  }
}

function config() {
  const broken = state.config && !state.config.ok;
  problem.hidden = !broken;
  if (broken) fill(problem, "The configuration on disk has mistakes; the one loaded before goes on. ",
    h("a", { href: "#/settings" }, "See them"));
}

function count() {
  const now = running().length;
  live.hidden = !now;
  say(live, String(now));
  live.setAttribute("aria-label", `${now} running`);
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
  addEventListener("keydown", onkey);
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(/** @type {Node} */ (event.target))) menu.removeAttribute("open");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll("details.menu[open]").forEach((menu) => menu.removeAttribute("open"));
  });
  on("connection", connection);
  on("config", config);
  on("inflight", count);
  watchChoices();
  show();
  connection();
  void follow();
}

begin();
