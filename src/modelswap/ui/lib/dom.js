// @ts-check
/**
 * Builds elements of the page.
 *
 * Guarantees: text from outside (names, logs, responses) becomes text nodes and values of chosen
 * attributes, never markup. Nothing here, and nothing that uses it, writes HTML as a string.
 */

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "open", "selected", "indeterminate"]);

/** @typedef {any} Child a node, text, a number, nothing (null, undefined, false), or a list of these */

/**
 * @param {Element} element
 * @param {Record<string, any> | null} props
 */
function assign(element, props) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || (value === false && !PROPERTIES.has(name))) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) /** @type {any} */ (element)[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * @param {Element | DocumentFragment} parent
 * @param {Child[]} children
 */
export function add(parent, ...children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(parent, ...child);
    else parent.append(child instanceof Node ? child : String(child));
  }
}

/**
 * Make an HTML element. `on…` are listeners, the rest attributes.
 * @param {string} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Child} children
 * @returns {any}
 */
export function h(tag, props = null, ...children) {
  const element = document.createElement(tag);
  add(element, ...children); // before the properties: a select's value needs its options
  assign(element, props);
  return element;
}

/**
 * Make an SVG element.
 * @param {string} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function svg(tag, props = null, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  assign(element, props);
  add(element, ...children);
  return element;
}

/**
 * Replace what an element holds.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, ...children);
}

/**
 * Change a text only when it is another: no needless work, no lost selection.
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const ICONS = {
  activity: "M3 12h4l3-8 4 16 3-8h4",
  models: "M4 7l8-4 8 4-8 4zM4 12l8 4 8-4M4 17l8 4 8-4",
  logs: "M5 5h14M5 10h14M5 15h9M5 20h6",
  performance: "M4 20V10M10 20V4M16 20v-7M21 20H3",
  playground: "M4 5h16v11H9l-5 4z",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4v6M9 14v6",
  theme: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  open: "M9 5H5v14h14v-4M13 5h6v6M19 5l-9 9",
};

/**
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/**
 * A button.
 * @param {string} label
 * @param {(event: Event) => void} onclick
 * @param {Record<string, any>} [props]
 */
export function button(label, onclick, props = {}) {
  return h("button", { type: "button", onclick, ...props }, label);
}

let labels = 0;

/**
 * A control with its label.
 * @param {string} label
 * @param {HTMLElement} control
 * @param {string} [kind]
 */
export function field(label, control, kind = "") {
  if (!control.id) control.id = `field-${++labels}`;
  return h("div", { class: `field ${kind}` }, h("label", { for: control.id }, label), control);
}

/**
 * A select; options are values or [value, text] pairs.
 * @param {(string | [string, string])[]} options
 * @param {Record<string, any>} props
 */
export function select(options, props) {
  return h("select", props, options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    return h("option", { value }, text);
  }));
}

/**
 * Tabs that a keyboard can use: arrows move, the panel follows.
 * @param {string} label
 * @param {[string, string][]} tabs id and text
 * @param {string} current
 * @param {(id: string) => void} onchoose
 */
export function tabs(label, tabs, current, onchoose) {
  const bar = h("div", { role: "tablist", "aria-label": label, class: "tabs" });
  const buttons = tabs.map(([id, text]) =>
    button(text, () => choose(id), { role: "tab", "data-tab": id, onkeydown: move }));
  /** @param {KeyboardEvent} event */
  function move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = buttons.indexOf(event.currentTarget);
    const next = (at + step + buttons.length) % buttons.length;
    buttons[next].focus();
    choose(tabs[next][0]);
  }
  /** @param {string} id */
  function show(id) {
    for (const each of buttons) {
      const is = each.dataset.tab === id;
      each.setAttribute("aria-selected", String(is));
      each.tabIndex = is ? 0 : -1;
    }
  }
  /** @param {string} id */
  function choose(id) {
    show(id);
    onchoose(id);
  }
  add(bar, buttons);
  show(current);
  return bar;
}

/** @type {any} the dialog that is open; there is never a second one */
let shown = null;

/** Close the dialog that is open, if one is. */
export function closeDialog() {
  shown?.close();
}

/**
 * Open a modal dialog in place of the one before. Escape, the cross and a click beside it close it. The focus returns to
 * what had it, else to what `focus` names, else to the content of the page.
 * @param {string} title
 * @param {Child} content
 * @param {{onclose?: () => void, focus?: () => HTMLElement | null}} [options]
 */
export function dialog(title, content, { onclose, focus } = {}) {
  closeDialog();
  const box = h("dialog", { "aria-label": title },
    h("header", null, h("h2", null, title), button("✕", () => box.close(), { class: "quiet", "aria-label": "Close" })),
    h("div", { class: "dialog-body" }, content));
  let began = false; // a selection that ends outside is no click outside
  box.addEventListener("close", () => {
    const toasts = box.querySelector("#toasts");
    if (toasts) document.body.append(toasts);
    if (shown === box) shown = null;
    box.remove();
    if (!shown && document.activeElement === document.body) (focus?.() || document.getElementById("main"))?.focus({ preventScroll: true });
    if (onclose) onclose();
  });
  box.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => { began = event.target === box; });
  box.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    if (event.target === box && began) box.close();
  });
  document.body.append(box);
  shown = box;
  box.showModal();
  return box;
}

/**
 * Make the children of an element these, in this order; what is in its place already is not touched.
 * @param {Element} parent
 * @param {Element[]} wanted
 */
export function arrange(parent, wanted) {
  let at = parent.firstElementChild;
  for (const element of wanted) {
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
  while (at) {
    const next = at.nextElementSibling;
    at.remove();
    at = next;
  }
}

/**
 * Say something that passes, to eyes and screen readers.
 * @param {string} text
 * @param {"info" | "error"} [kind]
 */
export function toast(text, kind = "info") {
  let place = document.getElementById("toasts");
  if (!place) {
    place = h("div", { id: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(/** @type {HTMLElement} */ (place));
  }
  // One modal dialog covers everything else, so the notice goes into it.
  const dialogs = document.querySelectorAll("dialog[open]");
  (dialogs[dialogs.length - 1] || document.body).append(/** @type {HTMLElement} */ (place));
  const note = h("div", { class: `toast ${kind}` }, text, button("✕", () => note.remove(),
    { class: "quiet", "aria-label": "Dismiss" }));
  place?.append(note);
  setTimeout(() => note.remove(), kind === "error" ? 10_000 : 3_000);
}

/**
 * Copy text, also where the clipboard API is not offered (plain http to another machine).
 * @param {string} text
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "away", value: text, "aria-hidden": "true" });
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return toast("The browser did not let me copy", "error");
  }
  toast("Copied");
}

/**
 * Let the user save bytes or text as a file.
 * @param {string} name
 * @param {BlobPart} data
 * @param {string} [type]
 */
export function save(name, data, type = "text/plain") {
  const url = URL.createObjectURL(new Blob([data], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * A quiet message in place of content.
 * @param {string} title
 * @param {...Child} more
 */
export function empty(title, ...more) {
  return h("div", { class: "empty" }, h("p", null, h("strong", null, title)), more.length ? h("p", null, ...more) : null);
}

/**
 * A value that survives a reload of the page; storage that is full or off is no reason to fail.
 * @param {string} name
 * @param {any} standard
 */
export function remembered(name, standard) {
  try {
    const text = localStorage.getItem(`modelswap.${name}`);
    return text === null ? standard : JSON.parse(text);
  } catch {
    return standard;
  }
}

/**
 * @param {string} name
 * @param {any} value
 * @returns {boolean} whether it was kept
 */
export function remember(name, value) {
  try {
    localStorage.setItem(`modelswap.${name}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
