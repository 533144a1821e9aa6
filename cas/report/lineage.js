// Lineage: trees and experiments, drawn with what they were made of left, what they became right.
//
// Where there are many nodes, experiments of the same inputs are one, and so are their outputs,
// and the experiments that used those; so 10,000 runs are a drawing still.

const UNFOLDED = 40; // nodes that are drawn one by one
const MOST_NODES = 60;
const NODE = { wide: 200, high: 44, gap: 16, between: 56 };

// All trees (t<number>) and experiments (r<number>), and [from, to] of all edges.
function wholeGraph() {
  const nodes = new Map();
  const edges = [];
  const tree = (at) => {
    const id = `t${at}`;
    if (!nodes.has(id)) nodes.set(id, { trees: [at], weight: trees[at].usedBy.length + 1 });
    return id;
  };
  for (const [from, to] of data.edges) edges.push([tree(from), tree(to)]);
  for (const run of all) {
    if (!uses(run).length) continue;
    nodes.set(`r${run}`, { runs: [run], weight: 1 });
    for (const [at, role] of uses(run)) {
      edges.push(role === "output" ? [`r${run}`, tree(at)] : [tree(at), `r${run}`]);
    }
  }
  return { nodes, edges };
}

// Node → steps from the focus, of all that is reached by going only up or only down.
function reached(focus, edges) {
  const found = new Map([[focus, 0]]);
  for (const [from, to] of [[0, 1], [1, 0]]) {
    const next = new Map();
    for (const edge of edges) {
      if (!next.has(edge[from])) next.set(edge[from], []);
      next.get(edge[from]).push(edge[to]);
    }
    const steps = new Map([[focus, 0]]);
    for (const [node, step] of steps) {
      for (const other of next.get(node) || []) {
        if (!steps.has(other)) steps.set(other, step + 1);
      }
    }
    steps.forEach((step, node) => found.set(node, Math.min(step, found.get(node) ?? step)));
  }
  return found;
}

// One node for all experiments, or all their outputs, that were made of the same.
function folded({ nodes, edges }, focus) {
  const sources = new Map();
  for (const [from, to] of edges) {
    if (!sources.has(to)) sources.set(to, []);
    sources.get(to).push(from);
  }
  const column = columnsOf([...nodes.keys()], edges, false);
  const became = new Map();
  const classes = new Map();
  for (const id of [...nodes.keys()].sort((a, b) => column.get(a) - column.get(b))) {
    const of_ = sources.get(id) || [];
    const alone = id === focus || (nodes.get(id).trees && !of_.every((one) => one[0] === "r")) ||
      !of_.length;
    const key = alone ? id
      : `${id[0]} of ${[...new Set(of_.map((one) => became.get(one) || one))].sort().join(" ")}`;
    if (!classes.has(key)) classes.set(key, id);
    became.set(id, classes.get(key));
  }
  const kept = new Map();
  for (const [id, node] of nodes) {
    const into = became.get(id);
    const whole = kept.get(into) || { weight: 0, ...(node.runs ? { runs: [] } : { trees: [] }) };
    (whole.runs || whole.trees).push(...(node.runs || node.trees));
    whole.weight += node.weight;
    kept.set(into, whole);
  }
  return { nodes: kept, edges: distinct(edges.map((edge) => edge.map((one) => became.get(one)))) };
}

function distinct(edges) {
  return [...new Map(edges.filter(([from, to]) => from !== to)
    .map((edge) => [edge.join(" "), edge])).values()];
}

// The nodes to draw for a focus, or for everything, and how many of them there was no room for.
function chosen(focus) {
  let { nodes, edges } = wholeGraph();
  const among = (wanted) => {
    nodes = new Map([...nodes].filter(([id]) => wanted.has(id)));
    edges = distinct(edges.filter(([from, to]) => wanted.has(from) && wanted.has(to)));
  };
  if (focus) among(reached(focus, edges));
  else edges = distinct(edges);
  if (nodes.size > UNFOLDED) ({ nodes, edges } = folded({ nodes, edges }, focus));
  const total = nodes.size;
  const steps = focus ? reached(focus, edges) : new Map();
  const order_ = [...nodes.keys()].sort((a, b) => (steps.get(a) || 0) - (steps.get(b) || 0) ||
    nodes.get(b).weight - nodes.get(a).weight);
  among(new Set(order_.slice(0, MOST_NODES)));
  const joined = new Set(edges.flat());
  const shown = new Map([...nodes].filter(([id]) => joined.has(id)));
  return { nodes: shown, edges, missing: total - shown.size };
}

function lineage(focus) {
  const { nodes, edges, missing } = chosen(focus);
  if (!nodes.size) {
    return h("p", { class: "soft" }, focus ? "Nothing was made of it, and nothing is known that " +
      "it was made of." : "No experiment named an asset, and no asset was built of another.");
  }
  const laid = layers([...nodes.keys()], edges, NODE);
  const drawing = s("svg", { class: "lineage", role: "img",
    "aria-label": `lineage: ${several(nodes.size, "node")}`,
    viewBox: `-8 -8 ${laid.width + 16} ${laid.height + 16}`, width: laid.width + 16,
    height: laid.height + 16 },
  s("defs", null, s("marker", { id: "tip", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7,
    markerHeight: 7, orient: "auto" }, s("path", { class: "tip-end", d: "M0,0L8,4L0,8z" }))),
  laid.paths.map(({ d, arrow }) =>
    s("path", { class: "edge", d, "marker-end": arrow ? "url(#tip)" : null })),
  [...nodes].map(([id, node]) => nodeOf(id, node, laid.places.get(id), id === focus)));
  const box = h("div", { class: "wide drawing", tabindex: "0", role: "region",
    "aria-label": "lineage" }, drawing);
  const here = laid.places.get(focus);
  if (here) {
    requestAnimationFrame(() => {
      box.scrollLeft = here.x + NODE.wide / 2 - box.clientWidth / 2;
    });
  }
  return h("div", null, box,
    missing > 0 ? h("p", { class: "soft" },
      `${several(missing, "lesser node")} not drawn`) : null);
}

function nodeOf(id, node, { x, y }, here) {
  const { wide, high } = NODE;
  const told = { name: "", under: "", kind: "run", to: null, wrong: false };
  if (node.trees && node.trees.length > 1) {
    Object.assign(told, { name: several(node.trees.length, "output"), kind: "tree",
      under: `${trees[node.trees[0]].name.split("/").pop()} …`, to: "#/assets",
      wrong: node.trees.some((one) => bad.has(trees[one].tree)) });
  } else if (node.runs) {
    const [run] = node.runs;
    const many = node.runs.length > 1;
    Object.assign(told, { name: many ? several(node.runs.length, "experiment") : of.name(run),
      under: many ? `${of.name(run)} …` : `experiment · ${date(of.created(run)).slice(0, 10)}`,
      to: many ? boardOf(node.runs) : toRun(run),
      wrong: node.runs.some((one) => bad.has(of.id(one))) });
  } else {
    const one = trees[node.trees[0]];
    Object.assign(told, { name: one.name.replace(/^(datasets|models|tokenizers)\//, ""),
      kind: "tree", to: toAsset(one.at), wrong: bad.has(one.tree),
      under: `${one.kind || "tree"} · ${short(one.tree).slice(0, 8)}` });
  }
  const line = (text, dy, kind) => s("text", { x: x + 12, y: y + dy, class: kind,
    direction: "ltr" }, `\u2068${cut(text, kind ? 28 : 24)}\u2069`);
  return s("a", { href: told.to, "data-node": id,
    class: `node ${told.kind}${here ? " here" : ""}${told.wrong ? " wrong" : ""}` },
  s("title", null, told.name),
  s("rect", { x, y: y - high / 2, width: wide, height: high,
    rx: told.kind === "run" ? high / 2 : 6 }),
  line(told.name, -3, ""), line(told.under, 13, "under"));
}

const cut = (text, most) => {
  const letters = [...text];
  return letters.length > most ? `${letters.slice(0, 8).join("")}…${
    letters.slice(9 - most).join("")}` : text;
};

// The leaderboard of all that used what all runs of one node used.
function boardOf(runs) {
  const common = inputs(runs[0]).map(([, tree]) => tree).filter((tree) =>
    runs.every((run) => inputs(run).some(([, other]) => other === tree)));
  return boardOfTrees(common, runs);
}

function boardOfTrees(wanted, runs) {
  const query = new URLSearchParams();
  query.set("q", wanted.map((tree) => `tree:${short(trees[tree].tree)}`).join(" "));
  if (!runs.every((run) => of.latest(run))) query.set("every", "1");
  return `#/?${query}`;
}

function lineageView(given) {
  const run = byId.get(given);
  const tree = treeOf.get(given);
  const focus = run !== undefined ? `r${run}` : tree ? `t${tree.at}` : "";
  const offered = [...trees].filter((one) => one.usedBy.length + one.madeBy.length +
    one.builtOf.length + one.builtInto.length > 0)
    .sort((one, other) => other.usedBy.length - one.usedBy.length || one.at - other.at)
    .slice(0, 500);
  const title = focus ? ["Lineage of ", run !== undefined ? runLink(run) : assetLink(tree.at)]
    : "Lineage";
  return [h("h1", null, title), h("div", { class: "bar" },
    choice("of", [["", "everything"], ...offered.map((one) =>
      [one.tree, `${one.name} · ${short(one.tree).slice(0, 8)}`])],
    tree ? tree.tree : "", (value) => {
      location.hash = value ? toLineage(value) : "#/lineage";
    }), h("span", { class: "keys" }, h("i", { class: "key tree" }), "asset",
      h("i", { class: "key run" }), "experiment")), lineage(focus)];
}
