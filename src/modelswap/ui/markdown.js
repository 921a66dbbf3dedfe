// @ts-check
/**
 * Markdown as document nodes.
 *
 * Law: a model's text can become paragraphs, lists, tables, code and links to http(s) and mail
 * addresses, nothing else. There is no way to markup: HTML in the text shows as text, pictures
 * become links. Time is proportional to the text, for any text.
 */

import { button, copy, h } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const DELIMITER = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const DEEPEST = 12;

/** @typedef {{kind: string, lines: string[], more?: any}} Block */

/**
 * Cut a text into blocks; what they hold is looked at later.
 * @param {string[]} lines
 * @returns {Block[]}
 */
function blocksOf(lines) {
  /** @type {Block[]} */
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    if (!line.trim()) {
      at += 1;
    } else if (fence) {
      const body = [];
      const mark = fence[1];
      for (at += 1; at < lines.length; at += 1) {
        const end = lines[at].trim();
        if (end.startsWith(mark) && end === mark[0].repeat(end.length)) break;
        body.push(lines[at]);
      }
      at += 1;
      blocks.push({ kind: "code", lines: body, more: fence[2] });
    } else if (HEADING.test(line)) {
      blocks.push({ kind: "heading", lines: [line] });
      at += 1;
    } else if (RULE.test(line)) {
      blocks.push({ kind: "rule", lines: [line] });
      at += 1;
    } else if (/^ {0,3}>/.test(line)) {
      const body = [];
      for (; at < lines.length && lines[at].trim() && !(body.length && FENCE.test(lines[at])); at += 1) body.push(lines[at].replace(/^ {0,3}> ?/, ""));
      blocks.push({ kind: "quote", lines: body });
    } else if (ITEM.test(line)) {
      const body = [];
      const indent = /** @type {RegExpExecArray} */ (ITEM.exec(line))[1].length;
      const ordered = /\d/.test(/** @type {RegExpExecArray} */ (ITEM.exec(line))[2]);
      for (; at < lines.length; at += 1) {
        const here = lines[at];
        const next = lines[at + 1] || "";
        const item = ITEM.exec(here);
        if (!here.trim()) {
          if (!/^\s{2,}\S/.test(next) && !ITEM.test(next)) break;
        } else if (item && item[1].length <= indent) {
          if (/\d/.test(item[2]) !== ordered) break;
        } else if (!item && !/^\s/.test(here) && (!lines[at - 1].trim() || FENCE.test(here) || HEADING.test(here))) {
          break;
        }
        body.push(here);
      }
      blocks.push({ kind: "list", lines: body, more: indent });
    } else if (line.includes("|") && at + 1 < lines.length && lines[at + 1].includes("-") && lines[at + 1].length < 1000
      && DELIMITER.test(lines[at + 1])) {
      const body = [];
      for (; at < lines.length && lines[at].includes("|"); at += 1) body.push(lines[at]);
      blocks.push({ kind: "table", lines: body });
    } else {
      const body = [];
      for (; at < lines.length; at += 1) {
        const here = lines[at];
        if (!here.trim() || FENCE.test(here) || HEADING.test(here) || /^ {0,3}>/.test(here)) break;
        if (body.length && (ITEM.test(here) || RULE.test(here))) break;
        body.push(here);
      }
      blocks.push({ kind: "text", lines: body });
    }
  }
  return blocks;
}

/** @param {Block} block @param {number} depth */
function render(block, depth) {
  switch (block.kind) {
    case "code":
      return codeBlock(block.lines.join("\n"), block.more);
    case "heading": {
      const [, marks, text] = /** @type {RegExpExecArray} */ (HEADING.exec(block.lines[0]));
      let end = text.length;
      while (end && " \t#".includes(text[end - 1])) end -= 1;
      return h(`h${Math.min(6, marks.length + 2)}`, null, inline(end ? text.slice(0, end) : text));
    }
    case "rule":
      return h("hr");
    case "quote":
      return h("blockquote", null, children(block.lines, depth + 1));
    case "list":
      return list(block, depth);
    case "table":
      return table(block.lines);
    default:
      return h("p", null, block.lines.map((line, at) => [at ? h("br") : null, inline(line.trim())]));
  }
}

/** @param {string[]} lines @param {number} depth @returns {any[]} */
function children(lines, depth) {
  if (depth > DEEPEST) return [h("p", null, lines.join("\n"))];
  return blocksOf(lines).map((block) => render(block, depth));
}

/** @param {Block} block @param {number} depth */
function list(block, depth) {
  const first = /** @type {RegExpExecArray} */ (ITEM.exec(block.lines[0]));
  /** @type {string[][]} */
  const items = [];
  for (const line of block.lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= block.more) items.push([item[3]]);
    else items[items.length - 1].push(line.replace(/^\s{1,4}/, ""));
  }
  const ordered = /\d/.test(first[2]);
  return h(ordered ? "ol" : "ul", ordered ? { start: parseInt(first[2], 10) } : null, items.map((lines) => {
    const task = /^\[([ xX])\]\s+/.exec(lines[0]);
    if (task) lines[0] = lines[0].slice(task[0].length);
    const box = task && h("input", { type: "checkbox", disabled: true, checked: task[1] !== " ", "aria-label": "task" });
    const plain = lines.length === 1 && !FENCE.test(lines[0]);
    return h("li", { class: task ? "task" : null }, box, plain ? inline(lines[0]) : children(lines, depth + 1));
  }));
}

/** @param {string} line */
function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** @param {string[]} lines */
function table(lines) {
  const sides = cells(lines[1]).map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "right") : "left"));
  const row = (/** @type {string} */ line, /** @type {string} */ tag) => h("tr", null, cells(line).slice(0, 64).map((cell, at) =>
    h(tag, { class: `to-${sides[at] || "left"}` }, inline(cell))));
  return h("div", { class: "scroll" }, h("table", { class: "plain" },
    h("thead", null, row(lines[0], "th")), h("tbody", null, lines.slice(2).map((line) => row(line, "td")))));
}

/**
 * @param {string} text
 * @param {string} language
 */
function codeBlock(text, language) {
  return h("figure", { class: "codeblock" },
    h("figcaption", null, h("span", null, language || "code"), button("Copy", () => copy(text), { class: "quiet" })),
    h("pre", { class: "code", tabindex: "0" }, h("code", null, highlighted(text, language))));
}

const WORDS = new Set(("abstract and as assert async await bool boolean break case catch class const continue def default defer del delete do "
  + "double elif else enum except export extends extern False false final finally float fn for from func function go if impl implements import "
  + "in int interface is lambda let long loop match mod module mut namespace new nil None nonlocal not null of or package pass private "
  + "protected pub public raise return select self static str string struct super switch this throw trait True true try type typedef typeof "
  + "undefined unsafe use using var void where while with yield SELECT FROM WHERE JOIN ON INSERT UPDATE DELETE INTO VALUES CREATE TABLE "
  + "ORDER GROUP BY LIMIT AND OR NOT NULL fi then done esac echo local end begin").split(" "));
const HASH = new Set(["python", "py", "sh", "bash", "shell", "zsh", "yaml", "yml", "toml", "ruby", "rb", "perl", "r", "makefile",
  "dockerfile", "ini", "console"]);
const PLAIN = new Set(["", "text", "txt", "plain", "plaintext", "markdown", "md", "output", "log"]);
const TOKEN = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|\/\/[^\n]*|\/\*[^]*?\*\/|--[^\n]*|#[^\n]*|\b\d[\w.]*\b|[A-Za-z_]\w*/g;

/**
 * A few colours for code: comments, strings, numbers, common words.
 * @param {string} text
 * @param {string} language
 */
function highlighted(text, language) {
  const named = (language || "").toLowerCase();
  if (PLAIN.has(named) || text.length > 12_000) return [text];
  const found = [];
  let from = 0;
  for (const match of text.matchAll(TOKEN)) {
    const token = match[0];
    const first = token[0];
    let kind = "";
    if (first === "#") kind = HASH.has(named) ? "comment" : "";
    else if (token.startsWith("--")) kind = named === "sql" || named === "lua" ? "comment" : "";
    else if (token.startsWith("//") || token.startsWith("/*")) kind = HASH.has(named) ? "" : "comment";
    else if (first === '"' || first === "'" || first === "`") kind = "string";
    else if (first >= "0" && first <= "9") kind = "number";
    else if (WORDS.has(token)) kind = "word";
    if (!kind) continue;
    const at = /** @type {number} */ (match.index);
    found.push(text.slice(from, at), h("span", { class: `hl-${kind}` }, token));
    from = at + token.length;
  }
  found.push(text.slice(from));
  return found;
}

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

/** @param {string} address @param {any} content */
function link(address, content) {
  const href = safeUrl(address);
  if (!href) return h("span", null, content);
  return h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, content);
}

const SPECIAL = /[\\`*_~![<h]/;
const MARKS = /** @type {const} */ ([["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]]);
const NEAR = 4000; // how far the end of a mark is looked for: keeps the time in bounds

/**
 * What stands inside a line.
 * @param {string} text
 * @param {number} [depth]
 * @returns {any[]}
 */
function inline(text, depth = 0) {
  /** @type {any[]} */
  const found = [];
  let plain = "";
  let at = 0;
  /** @type {Map<string, number>} */
  const ahead = new Map();
  const put = (/** @type {any} */ node, /** @type {number} */ next) => {
    if (plain) found.push(plain);
    plain = "";
    found.push(node);
    at = next;
  };
  /**
   * Where a mark ends; what was found ahead is remembered, so that the text is searched once.
   * @param {string} mark
   * @param {number} from
   */
  const endOf = (mark, from) => {
    let end = ahead.get(mark) ?? -1;
    if (end < from) {
      end = text.indexOf(mark, from);
      if (end < 0) end = Infinity;
      ahead.set(mark, end);
    }
    return end - from > NEAR ? -1 : end;
  };
  while (at < text.length) {
    const char = text[at];
    if (depth > DEEPEST || !SPECIAL.test(char)) {
      plain += char;
      at += 1;
      continue;
    }
    if (char === "\\" && at + 1 < text.length && /[!-/:-@[-`{-~]/.test(text[at + 1])) {
      plain += text[at + 1];
      at += 2;
      continue;
    }
    if (char === "`") {
      let mark = "`";
      while (text[at + mark.length] === "`" && mark.length < 8) mark += "`";
      const end = endOf(mark, at + mark.length);
      if (end > 0) {
        put(h("code", null, text.slice(at + mark.length, end).trim()), end + mark.length);
        continue;
      }
    } else if (char === "[" || (char === "!" && text[at + 1] === "[")) {
      const open = char === "!" ? at + 1 : at;
      const middle = endOf("](", open);
      const end = middle > 0 ? endOf(")", middle) : -1;
      if (end > 0) {
        const label = text.slice(open + 1, middle);
        const address = text.slice(middle + 2, end).trim().split(/\s/)[0].replace(/^<|>$/g, "");
        put(link(address, char === "!" ? `🖼 ${label || address}` : inline(label, depth + 1)), end + 1);
        continue;
      }
    } else if (char === "<") {
      const match = /^<((?:https?:\/\/|mailto:)[^\s<>]{1,1000})>/.exec(text.slice(at, at + 1100));
      if (match) {
        put(link(match[1], match[1]), at + match[0].length);
        continue;
      }
    } else if (char === "h" && !/\w/.test(text[at - 1] || " ")) {
      const match = /^https?:\/\/[^\s<>"'`|]{1,1000}/.exec(text.slice(at, at + 1100));
      if (match) {
        const address = match[0].replace(/[.,;:!?)\]*_]+$/, "");
        put(link(address, address), at + address.length);
        continue;
      }
    } else {
      const known = MARKS.find(([mark]) => text.startsWith(mark, at));
      if (known) {
        const [mark, tag] = known;
        const inside = at + mark.length;
        const isWord = mark[0] === "_" && /\w/.test(text[at - 1] || " ");
        const end = isWord || /\s/.test(text[inside] || " ") ? -1 : endOf(mark, inside + 1);
        if (end > 0 && !/\s/.test(text[end - 1]) && !(mark[0] === "_" && /\w/.test(text[end + mark.length] || " "))) {
          put(h(tag, null, inline(text.slice(inside, end), depth + 1)), end + mark.length);
          continue;
        }
        plain += mark;
        at = inside;
        continue;
      }
    }
    plain += char;
    at += 1;
  }
  if (plain) found.push(plain);
  return found;
}

/**
 * Render a text into an element, keeping the nodes of blocks that are as they were: a stream
 * costs only what is new, and a selection in the finished part stays.
 * @param {HTMLElement & {blocks?: string[]}} element
 * @param {string} text
 */
export function renderInto(element, text) {
  const blocks = blocksOf(text.replaceAll("\r\n", "\n").split("\n"));
  const before = element.blocks || [];
  const keys = blocks.map((block) => `${block.kind}\n${block.more ?? ""}\n${block.lines.join("\n")}`);
  let same = 0;
  while (same < keys.length && keys[same] === before[same]) same += 1;
  while (element.childNodes.length > same) element.lastChild?.remove();
  for (const block of blocks.slice(same)) element.append(render(block, 0));
  element.blocks = keys;
}

/** @param {string} text */
export function markdown(text) {
  const element = h("div", { class: "markdown" });
  renderInto(element, text);
  return element;
}
