// @ts-check
/**
 * Renders the inside of a Markdown paragraph as document nodes: emphasis, code, links.
 *
 * Guarantees: emphasis nests as CommonMark says; links lead to http(s) and mail addresses only; HTML stays text; time is
 * proportional to the text.
 */

import { h } from "./dom.js";

const NEAR = 4000; // characters after a bracket in which its link must end: keeps the time in bounds
const DEEPEST = 12; // levels of emphasis and of brackets: documents have limits, models do not
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}\p{S}]/u;
const CJK = /[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]/;
const SPECIAL = /[\\`*_~![<h&\n]/;
const ENTITIES = /** @type {Record<string, string>} */ ({ amp: "&", lt: "<", gt: ">", quot: "\"", apos: "'", nbsp: "\u00a0", ndash: "–",
  mdash: "—", hellip: "…", rarr: "→", larr: "←", times: "×", copy: "©" });

/**
 * Only addresses that lead somewhere and run nothing.
 * @param {string} text
 * @returns {string | null}
 */
export function safeUrl(text) {
  if (text.length > 2000) return null;
  try {
    const parsed = new URL(text);
    return ["http:", "https:", "mailto:"].includes(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}

/** @param {string} address @param {any} content @param {string} [title] */
function link(address, content, title = "") {
  const href = safeUrl(address);
  if (!href) return h("span", null, content);
  return h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", title: title || null }, content);
}

/** @param {string} text */
function unescaped(text) {
  return text.replace(/\\([!-/:-@[-`{-~])/g, "$1");
}

/**
 * Where the bracket that opens at `from` closes; brackets in pairs and in code belong to the text.
 * @param {string} text @param {number} from
 */
function closingBracket(text, from) {
  let depth = 0;
  const last = Math.min(text.length, from + NEAR);
  for (let at = from; at < last; at += 1) {
    const char = text[at];
    if (char === "\\") at += 1;
    else if (char === "`") {
      const mark = /^`+/.exec(text.slice(at, at + 32))?.[0] || "`";
      const end = text.indexOf(mark, at + mark.length);
      at = end > 0 && end < last ? end + mark.length - 1 : at + mark.length - 1;
    } else if (char === "[") {
      depth += 1;
    } else if (char === "]") {
      depth -= 1;
      if (!depth) return at;
    }
  }
  return -1;
}

/**
 * Read `(address "title")`.
 * @param {string} text
 * @param {number} from where the parenthesis stands
 * @returns {{address: string, title: string, next: number} | null}
 */
export function destination(text, from) {
  const rest = text.slice(from + 1, from + 1 + NEAR);
  let at = /^\s*/.exec(rest)?.[0].length || 0;
  let address = "";
  if (rest[at] === "<") {
    const match = /^<((?:[^<>\n\\]|\\.)*)>/.exec(rest.slice(at));
    if (!match) return null;
    address = match[1];
    at += match[0].length;
  } else {
    const begin = at;
    for (let depth = 0; at < rest.length; at += 1) {
      const char = rest[at];
      if (char === "\\" && at + 1 < rest.length) at += 1;
      else if (char === "(") depth += 1;
      else if (char === ")") {
        if (!depth) break;
        depth -= 1;
      } else if (char <= " ") break;
    }
    address = rest.slice(begin, at);
  }
  const end = /^(?:\s+("(?:[^"\\]|\\[^])*"|'(?:[^'\\]|\\[^])*'|\((?:[^()\\]|\\[^])*\)))?\s*\)/.exec(rest.slice(at));
  if (!end) return null;
  return { address: unescaped(address), title: end[1] ? unescaped(end[1].slice(1, -1)) : "", next: from + 1 + at + end[0].length };
}

/**
 * A bare address without what belongs to the sentence around it.
 * @param {string} text
 */
export function bareAddress(text) {
  let address = /^https?:\/\/[^\s<>"`|\u3000-\u303f\uff00-\uffef]{1,1000}/.exec(text)?.[0] || "";
  for (;;) {
    const last = address.at(-1) || "";
    const pair = { ")": "(", "]": "[", "}": "{" }[last];
    if (pair ? address.split(last).length <= address.split(pair).length : !/[.,;:!?*_~'’”]/.test(last)) break;
    address = address.slice(0, -1);
  }
  return /^https?:\/\/./.test(address) ? address : "";
}

// Emphasis, by CommonMark's rules for runs of delimiters

/**
 * @typedef {{prev: Item | null, next: Item | null, node: any, depth: number, char: string, count: number, length: number,
 *   opens: boolean, closes: boolean, before: Item | null, after: Item | null}} Item `before` and `after`: among the runs
 */

class Items {
  constructor() {
    /** @type {Item} */
    this.head = this.make("");
    /** @type {Item} */
    this.tail = this.head;
    /** @type {Item | null} */
    this.firstRun = null;
    /** @type {Item | null} */
    this.lastRun = null;
  }

  /** @param {any} node @param {number} [depth] @returns {Item} */
  make(node, depth = 0) {
    return { prev: null, next: null, node, depth, char: "", count: 0, length: 0, opens: false, closes: false, before: null, after: null };
  }

  /** @param {any} node @param {number} [depth] */
  push(node, depth = 0) {
    if (typeof node === "string" && typeof this.tail.node === "string" && !this.tail.char && this.tail !== this.head) {
      this.tail.node += node;
      return this.tail;
    }
    const item = this.make(node, depth);
    item.prev = this.tail;
    this.tail.next = item;
    this.tail = item;
    return item;
  }

  /** @param {string} char @param {number} count @param {boolean} opens @param {boolean} closes */
  pushRun(char, count, opens, closes) {
    const item = this.make("");
    item.prev = this.tail;
    this.tail.next = item;
    this.tail = item;
    Object.assign(item, { char, count, length: count, opens, closes, before: this.lastRun });
    if (this.lastRun) this.lastRun.after = item;
    else this.firstRun = item;
    this.lastRun = item;
  }

  /** @param {Item} run */
  forget(run) {
    if (run.before) run.before.after = run.after;
    else this.firstRun = run.after;
    if (run.after) run.after.before = run.before;
    else this.lastRun = run.before;
  }

  /**
   * Put what stands between two runs into an element.
   * @param {Item} opener @param {Item} closer @param {number} used
   */
  wrap(opener, closer, used) {
    const inside = [];
    let depth = 0;
    for (let item = opener.next; item && item !== closer; item = item.next) {
      depth = Math.max(depth, item.depth);
      inside.push(item.char ? item.char.repeat(item.count) : item.node);
      if (item.char) this.forget(item);
    }
    const tag = opener.char === "~" ? "del" : used === 2 ? "strong" : "em";
    const mark = opener.char.repeat(used);
    const made = depth < DEEPEST ? this.make(h(tag, null, inside), depth + 1) : this.make([mark, inside, mark], depth);
    made.prev = opener;
    made.next = closer;
    opener.next = made;
    closer.prev = made;
    opener.count -= used;
    closer.count -= used;
    if (!opener.count) this.forget(opener);
  }

  emphasize() {
    /** @type {Map<string, Item | null>} how far back no opener is left, by kind of closer */
    const bottoms = new Map();
    let closer = this.firstRun;
    while (closer) {
      if (!closer.closes) {
        closer = closer.after;
        continue;
      }
      const key = `${closer.char}${closer.opens}${closer.length % 3}${closer.char === "~" ? closer.count : ""}`;
      const bottom = bottoms.get(key) ?? null;
      let opener = closer.before;
      while (opener && opener !== bottom && !matches(opener, closer)) opener = opener.before;
      if (opener && opener !== bottom) {
        this.wrap(opener, closer, opener.count >= 2 && closer.count >= 2 ? 2 : 1);
        if (!closer.count) {
          const next = closer.after;
          this.forget(closer);
          closer = next;
        }
        continue;
      }
      bottoms.set(key, closer.before);
      const next = closer.after;
      if (!closer.opens) this.forget(closer);
      closer = next;
    }
  }

  /** @returns {any[]} */
  nodes() {
    const found = [];
    for (let item = this.head.next; item; item = item.next) {
      if (!item.char) found.push(item.node);
      else if (item.count) found.push(item.char.repeat(item.count));
    }
    return found;
  }
}

/** @param {Item} opener @param {Item} closer */
function matches(opener, closer) {
  if (opener.char !== closer.char || !opener.opens) return false;
  if (opener.char === "~") return opener.count === 2 && closer.count === 2;
  const sum = opener.length + closer.length;
  return !((opener.closes || closer.opens) && sum % 3 === 0 && (opener.length % 3 || closer.length % 3));
}

/** @param {Items} items @param {string} text @param {number} at */
function takeRun(items, text, at) {
  const char = text[at];
  let end = at;
  while (text[end] === char) end += 1;
  const before = text[at - 1] || " ";
  const after = text[end] || " ";
  const [spaceBefore, spaceAfter] = [/\s/.test(before), /\s/.test(after)];
  const [markBefore, markAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
  const left = !spaceAfter && (!markAfter || spaceBefore || markBefore);
  const right = !spaceBefore && (!markBefore || spaceAfter || markAfter);
  // Text without spaces between words: punctuation at a mark says nothing there.
  const opens = char === "_" ? left && (!right || markBefore) : left || (!spaceAfter && CJK.test(before));
  const closes = char === "_" ? right && (!left || markAfter) : right || (!spaceBefore && CJK.test(after));
  items.pushRun(char, end - at, opens, closes);
  return end;
}

/** Where code spans may end: runs of backticks by their length. */
class Ticks {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    /** @type {Map<number, number[]> | null} */
    this.places = null;
  }

  /** @param {number} length @param {number} from */
  next(length, from) {
    if (!this.places) {
      this.places = new Map();
      for (const match of this.text.matchAll(/`+/g)) {
        const all = this.places.get(match[0].length) || [];
        this.places.set(match[0].length, all);
        all.push(/** @type {number} */ (match.index));
      }
      for (const all of this.places.values()) all.reverse();
    }
    const all = this.places.get(length) || [];
    while (all.length && all[all.length - 1] < from) all.pop(); // asked for from left to right
    return all.at(-1) ?? -1;
  }
}

/** @param {string} text */
function entity(text) {
  const match = /^&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|([a-z]{2,8}));/.exec(text);
  if (!match) return null;
  const code = match[1] ? Number(match[1]) : match[2] ? parseInt(match[2], 16) : 0;
  const said = match[3] ? ENTITIES[match[3]] : code && code < 0x110000 ? String.fromCodePoint(code) : undefined;
  return said === undefined ? null : { said, length: match[0].length };
}

/**
 * @param {string} text a paragraph; its line ends become breaks
 * @param {boolean} [linked] inside a link there are no others
 * @param {number} [depth]
 * @returns {any[]}
 */
export function inline(text, linked = false, depth = 0) {
  const items = new Items();
  const ticks = new Ticks(text);
  let at = 0;
  let bracketEnd = -2; // the next "](", found once
  /** @param {any} node @param {number} next */
  const put = (node, next) => {
    items.push(node);
    at = next;
  };
  while (at < text.length) {
    const char = text[at];
    if (!SPECIAL.test(char)) {
      let end = at + 1;
      while (end < text.length && !SPECIAL.test(text[end])) end += 1;
      put(text.slice(at, end), end);
    } else if (char === "\n") {
      put(h("br"), at + 1);
    } else if (char === "\\") {
      if (text[at + 1] === "\n") at += 1;
      else if (/[!-/:-@[-`{-~]/.test(text[at + 1] || "")) put(text[at + 1], at + 2);
      else put(char, at + 1);
    } else if (char === "`") {
      let end = at;
      while (text[end] === "`") end += 1;
      const close = ticks.next(end - at, end);
      if (close < 0) put(text.slice(at, end), end);
      else {
        const code = text.slice(end, close).replaceAll("\n", " ");
        put(h("code", null, /^ .*\S.* $/.test(code) ? code.slice(1, -1) : code), close + end - at);
      }
    } else if (char === "*" || char === "_" || char === "~") {
      at = takeRun(items, text, at);
    } else if (char === "&") {
      const found = entity(text.slice(at, at + 12));
      put(found ? found.said : char, at + (found ? found.length : 1));
    } else if (char === "<") {
      const match = /^<((?:https?:\/\/|mailto:)[^\s<>]{1,1000}|[\w.+-]{1,64}@[\w.-]{1,250})>/.exec(text.slice(at, at + 1100));
      const address = match && (match[1].includes(":") ? match[1] : `mailto:${match[1]}`);
      if (match && !linked) put(link(String(address), match[1]), at + match[0].length);
      else put(match ? match[1] : char, at + (match ? match[0].length : 1));
    } else if (char === "h") {
      const address = !linked && !/\w/.test(text[at - 1] || " ") && text.startsWith("http", at) ? bareAddress(text.slice(at, at + 1100)) : "";
      put(address ? link(address, address) : char, at + (address.length || 1));
    } else if (char === "[" || text[at + 1] === "[") {
      const open = char === "!" ? at + 1 : at;
      if (bracketEnd !== -1 && bracketEnd < open) bracketEnd = text.indexOf("](", open);
      const close = bracketEnd < 0 || bracketEnd > open + NEAR || depth > DEEPEST ? -1 : closingBracket(text, open);
      const to = close > 0 && text[close + 1] === "(" ? destination(text, close + 1) : null;
      if (to) {
        const label = text.slice(open + 1, close);
        const content = char === "!" ? `🖼 ${unescaped(label) || to.address}` : inline(label, true, depth + 1);
        put(linked ? h("span", null, content) : link(to.address, content, to.title), to.next);
      } else put(text.slice(at, open + 1), open + 1);
    } else put(char, at + 1);
  }
  items.emphasize();
  return items.nodes();
}
