// @ts-check
/**
 * Renders Markdown as document nodes.
 *
 * Guarantees: a model's text becomes paragraphs, lists, tables, code and links to http(s) and mail
 * addresses, nothing else. HTML in the text shows as text, pictures become links. Time is
 * proportional to the text, for any text.
 */

import { button, copy, h } from "./dom.js";
import { inline } from "./markdown_inline.js";

const FENCE = /^ {0,3}(`{3,}(?![^`]*`)|~{3,})\s*([\w+#.-]*)/;
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
      let mark = ""; // of the code that is open inside an item
      for (; at < lines.length; at += 1) {
        const here = lines[at];
        const next = lines[at + 1] || "";
        const item = ITEM.exec(here);
        const opened = mark ? null : FENCE.exec(item ? item[3] : here.trimStart());
        const trimmed = here.trim();
        if (mark) {
          if (trimmed.startsWith(mark) && trimmed === mark[0].repeat(trimmed.length)) mark = "";
        } else if (opened && (item || /^\s/.test(here))) {
          if (item && item[1].length <= indent && /\d/.test(item[2]) !== ordered) break;
          mark = opened[1];
        } else if (!trimmed) {
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
      && DELIMITER.test(lines[at + 1]) && cells(line).length === cells(lines[at + 1]).length) {
      const body = [];
      for (; at < lines.length && lines[at].includes("|"); at += 1) body.push(lines[at]);
      blocks.push({ kind: "table", lines: body });
    } else {
      const body = [];
      for (; at < lines.length; at += 1) {
        const here = lines[at];
        if (!here.trim() || FENCE.test(here) || HEADING.test(here) || /^ {0,3}>/.test(here)) break;
        // A year at the beginning of a line begins no list.
        if (body.length && ((ITEM.test(here) && !/^\s*(?!1[.)])\d/.test(here)) || RULE.test(here))) break;
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
      return h("p", null, inline(block.lines.map((line) => line.trim()).join("\n")));
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
  let offset = 0; // of an item's text: so much of the indentation belongs to the list
  let mark = "";
  for (const line of block.lines) {
    const item = mark ? null : ITEM.exec(line);
    if (item && item[1].length <= block.more) {
      items.push([item[3]]);
      offset = line.length - item[3].length;
    } else {
      const blank = /^\s*/.exec(line)?.[0].length || 0;
      items[items.length - 1].push(line.slice(Math.min(blank, offset)));
    }
    const text = items[items.length - 1].at(-1) || "";
    const fence = FENCE.exec(text);
    if (mark) {
      if (text.trim().startsWith(mark) && text.trim() === mark[0].repeat(text.trim().length)) mark = "";
    } else if (fence) mark = fence[1];
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
  const row = (/** @type {string} */ line, /** @type {string} */ tag) => {
    const found = cells(line);
    return h("tr", null, sides.slice(0, 64).map((side, at) => h(tag, { class: `to-${side}` }, inline(found[at] || ""))));
  };
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
