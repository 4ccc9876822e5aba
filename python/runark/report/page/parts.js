"use strict";
// What the figures of the page are made of: the document, elements, numbers and names as text. Names only ever become
// text: `shown` escapes them as runark does everywhere, and nothing is made from markup.

const D = JSON.parse(document.getElementById("report").textContent);
const state = { at: D.start, unit: "inodes" };
const DAY_NS = 86400e9;
const CLASSES = { success: "success or finished", error: "error", unknown: "unknown", running: "running", archived: "archived" };

// ------------------------------------------------------------------------------------------------ elements

const $ = (id) => document.getElementById(id);

function make(space, tag, attributes, children) {
  const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  for (const child of children) node.append(child);
  return node;
}
const html = (tag, attributes, ...children) => make("", tag, attributes, children);
const svg = (tag, attributes, ...children) => make("http://www.w3.org/2000/svg", tag, attributes, children);

function drawing(width, height, label, ...children) {
  const attributes = { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label };
  return svg("svg", attributes, ...children);
}

function cell(value, kind) {
  return html(kind === "th" ? "th" : "td", kind && kind !== "th" ? { class: kind } : {}, value);
}

function table(heads, rows, foot) {
  const head = html("tr", {}, ...heads.map(([text, kind]) => html("th", { class: kind || "", scope: "col" }, text)));
  const body = rows.map((row) => html("tr", {}, ...row.map((value, i) => cell(value, heads[i][1]))));
  const parts = [html("thead", {}, head), html("tbody", {}, ...body)];
  if (foot) parts.push(html("tfoot", {}, html("tr", {}, ...foot.map((value, i) => cell(value, heads[i][1])))));
  return html("table", {}, ...parts);
}

const into = (section, ...nodes) => document.querySelector(`#${section} .scroll`).replaceChildren(...nodes);

// ------------------------------------------------------------------------------------------------ numbers, names

const number = (value) => value.toLocaleString("en-US");
const counted = (value, one, many) => `${number(value)} ${value === 1 ? one : many || one + "s"}`;

function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
  let unit = 0, rest = value;
  while (Math.abs(rest) >= (unit ? 999.5 : 1000) && unit + 1 < units.length) { rest /= 1000; unit += 1; }
  if (!unit) return `${value} B`;
  return `${Math.abs(rest) < 9.95 ? rest.toFixed(1) : rest.toFixed(0)} ${units[unit]}`;
}

function span(seconds) {
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(0)} d`;
}

const share = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(1)} %` : "");
const amount = (value) => (state.unit === "inodes" ? number(value) : bytes(value));
const day = (ns) => new Date(ns / 1e6).toISOString().slice(0, 10);

function decoded(hex) { // bytes that are no text become lone surrogates, as in Python
  const raw = Uint8Array.from(hex.match(/../g) || [], (pair) => parseInt(pair, 16));
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let at = 0; at < raw.length; ) {
    let length = 1;
    for (; length <= 4; length += 1) {
      try { text += strict.decode(raw.slice(at, at + length)); break; } catch { /* a longer one may be text */ }
    }
    if (length > 4) { text += String.fromCharCode(0xdc00 + raw[at]); length = 1; }
    at += length;
  }
  return text;
}

function shown(name) {
  const text = typeof name === "string" ? name : decoded(name.bytes);
  return text.replace(/\\|\p{C}|\p{Zl}|\p{Zp}|(?! )\p{Zs}/gu, (char) => {
    const code = char.codePointAt(0), short = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" }[char];
    if (short) return short;
    if (code >= 0xdc80 && code <= 0xdcff) return "\\x" + (code - 0xdc00).toString(16).padStart(2, "0");
    const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  });
}

const ROOT = D.roots.length === 1 ? shown(D.roots[0]) : "";
function below(path) { // without the only root
  const text = shown(path);
  return ROOT && text.startsWith(ROOT + "/") ? text.slice(ROOT.length + 1) : text;
}
const grouped = (group) => (group.members > 1 || group.name === "" ? counted(group.members, "other") : below(group.name));
