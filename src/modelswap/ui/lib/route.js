// @ts-check
/**
 * Reads and writes the address of the page: `#/view/more?filters`, and the request whose dialog is open.
 *
 * `#/activity/123` is request 123 over the activity list; this address can be shared.
 * Over other views the dialog is `?request=123`, so that the view does not change.
 */

/**
 * @typedef {{path: string[], query: URLSearchParams, request: string,
 *   setQuery: (query: Record<string, string>) => void}} Route `request`: empty for none
 */

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * @param {string[]} path
 * @param {URLSearchParams} query
 * @param {string} [request]
 */
function hashOf(path, query, request = "") {
  const pieces = path.map(encodeURIComponent);
  const asked = new URLSearchParams(query);
  if (request && path[0] === "activity") pieces.push(encodeURIComponent(request));
  else if (request) asked.set("request", request);
  const text = asked.toString();
  return `#/${pieces.join("/")}${text ? `?${text}` : ""}`;
}

/**
 * The address as it is now.
 * @returns {Route}
 */
export function currentRoute() {
  const hash = location.hash.replace(/^#\/?/, "");
  const cut = hash.indexOf("?");
  const path = (cut < 0 ? hash : hash.slice(0, cut)).split("/").filter(Boolean).map(decoded);
  const query = new URLSearchParams(cut < 0 ? "" : hash.slice(cut + 1));
  if (!path.length) path.push("activity");
  const request = (path[0] === "activity" && path[1]) || query.get("request") || "";
  if (path[0] === "activity") path.length = 1;
  query.delete("request");
  return { path, query, request, setQuery(wanted) {
    const asked = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
    history.replaceState(null, "", hashOf(path, asked, currentRoute().request));
    markShown({ path, query: asked });
  } };
}

let noted = "";

/**
 * Remember which view is on the screen.
 * @param {{path: string[], query: URLSearchParams}} route
 */
export function markShown(route) {
  noted = hashOf(route.path, route.query);
}

/**
 * Whether a route is the view on the screen, so that only the dialog over it may change.
 * @param {Route} route
 */
export function isShown(route) {
  return hashOf(route.path, route.query) === noted;
}

/**
 * The address of a request, to be sent to others.
 * @param {number | string} id
 */
export function requestAddress(id) {
  return `#/activity/${encodeURIComponent(id)}`;
}

/**
 * Open a request over the view that is shown; the back button closes it.
 * @param {number | string} id
 */
export function openRequest(id) {
  const route = currentRoute();
  history.pushState(null, "", hashOf(route.path, route.query, String(id)));
  dispatchEvent(new Event("modelswap-route"));
}

/**
 * Take a request that was closed out of the address.
 * @param {string} id
 */
export function leaveRequest(id) {
  const route = currentRoute();
  if (route.request === id) history.replaceState(null, "", hashOf(route.path, route.query));
}
