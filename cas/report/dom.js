// Elements and texts. Nothing here takes markup: what comes from the data becomes a text node.

function element(space, tag, given, children) {
  const made = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(given || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

const h = (tag, given, ...children) => element(null, tag, given, children);
const s = (tag, given, ...children) =>
  element("http://www.w3.org/2000/svg", tag, given, children);

// A name or another text of the data; its direction of writing stays its own.
const own = (text) => h("bdi", null, String(text));
const link = (to, ...children) => h("a", { href: to }, ...children);
const soft = (...children) => h("span", { class: "soft" }, ...children);
const chip = (text, kind) => h("span", { class: `chip ${kind || ""}` }, own(text));
const code = (text) => h("code", null, String(text));
const short = (tree) => tree.replace(/^t1:/, "").slice(0, 12);

function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const size = Math.abs(value);
  if (size >= 1e6 || (size < 1e-4 && size > 0)) {
    return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return String(Number(value.toPrecision(5)));
}

const thousands = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ",");
const several = (count, what) => `${thousands(count)} ${what}${count === 1 ? "" : "s"}`;

function bytes(size) {
  if (size === null || size === undefined) return "–";
  let unit = 0;
  while (size >= 1000 && unit < 4) {
    size /= 1000;
    unit += 1;
  }
  return `${unit ? size.toPrecision(3) : size} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

function date(seconds) {
  const at = new Date(seconds * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}`;
}

function table(heads, rows, given) {
  const head = heads.map((one) => (one instanceof Node ? one : h("th", { scope: "col" }, one)));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "table" },
    h("table", given, h("thead", null, h("tr", null, head)), h("tbody", null, rows)));
}

// Keys and values, in two columns.
function facts(pairs) {
  return h("dl", { class: "facts" }, pairs
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([key, value]) => [h("dt", null, own(key)),
      h("dd", null, value instanceof Node || Array.isArray(value) ? value : own(value))]));
}

function choice(label, options, chosen, change) {
  const made = h("select", { onchange: () => change(made.value) },
    options.map(([value, text]) =>
      h("option", { value, selected: value === chosen }, text)));
  return h("label", null, label, made);
}

function tick(label, on, change) {
  const made = h("input", { type: "checkbox", checked: on, onchange: () => change(made.checked) });
  return h("label", { class: "tick" }, made, label);
}
