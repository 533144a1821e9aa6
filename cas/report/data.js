// The document, unpacked: runs, metrics, parameters, assets, and what refers to what.

const data = JSON.parse(document.getElementById("data").textContent);
const count = data.count;
const all = Array.from({ length: count }, (_, run) => run);

// A packed list as a function of the run.
function unpacked(packed) {
  if (Array.isArray(packed)) return (run) => packed[run];
  if (!packed.i) return () => packed.v[0];
  return (run) => packed.v[packed.i[run]];
}

const of = {};
for (const name of Object.keys(data.runs)) of[name] = unpacked(data.runs[name]);
const byId = new Map(all.map((run) => [of.id(run), run]));
const parameters = data.metadata.map(([name, packed]) => ({ name, value: unpacked(packed) }));
const lists = data.uses.map((list) => list.map(([tree, role, name]) =>
  [tree, role, name || data.trees[tree][1]]));
const uses = (run) => lists[of.uses(run)];
const bad = new Map(data.bad);
const roleOf = (role) => ({ input: "used", output: "made" }[role] || role);

// Run → {rows, steps, values}.
function curvesOf(groups) {
  const found = new Map();
  for (const [rows, steps, runs, curves] of groups) {
    runs.forEach((run, at) => found.set(run, { rows, steps,
      values: typeof curves[at] === "number" ? data.lists[curves[at]] : curves[at] }));
  }
  return found;
}

const metrics = data.metrics.map((one, at) => ({
  name: one.name,
  direction: one.direction,
  min: one.min,
  max: one.max || one.min,
  last: one.last || one.min,
  skipped: new Map(one.skipped),
  curves: curvesOf(data.curves[at]),
}));
const metricOf = new Map(metrics.map((metric) => [metric.name, metric]));

// The value that a leaderboard compares; of a metric without a direction the last one.
function best(metric, run, direction) {
  const way = direction || metric.direction;
  const values = way === "min" ? metric.min : way === "max" ? metric.max : metric.last;
  return values[run];
}

// The points of a curve; null where the run has none.
function points(metric, run, against) {
  const curve = metric.curves.get(run);
  if (!curve) return null;
  const { rows, steps, values } = curve;
  let x = rows < 0 ? (at) => at : (at) => data.lists[rows][at];
  if (against === "step" && steps !== null) x = (at) => data.lists[steps][at];
  return values.map((y, at) => [x(at), y]).filter(([a]) => a !== null)
    .sort((one, other) => one[0] - other[0]);
}

const trees = data.trees.map(([tree, name, kind, repository, commit, files, size, locked, present],
  at) => ({
  at, tree, name: name || short(tree), kind, repository, commit, files, size,
  locked: locked === 1, present: present === 1, usedBy: [], madeBy: [], builtOf: [], builtInto: [],
}));
const treeOf = new Map(trees.map((one) => [one.tree, one]));
for (const run of all) {
  for (const [tree, role] of uses(run)) {
    const list = role === "output" ? trees[tree].madeBy : trees[tree].usedBy;
    if (list[list.length - 1] !== run) list.push(run);
  }
}
for (const [from, into, via] of data.edges) {
  trees[from].builtInto.push([into, via]);
  trees[into].builtOf.push([from, via]);
}
// Name → the tree that the lock pins.
const pinned = new Map(trees.filter((one) => one.locked).map((one) => [one.name, one]));
// What the newest run of a name used and the lock doesn't pin, as `cas stale` has it.
const stale = (run) => (of.latest(run)
  ? uses(run).filter(([tree, role]) => role !== "output" && !trees[tree].locked) : []);

const toRun = (run) => `#/run/${of.id(run)}`;
const toAsset = (at) => `#/asset/${trees[at].tree}`;
const toLineage = (tree) => `#/lineage/${tree}`;
const runLink = (run) => link(toRun(run), own(of.name(run)));
const assetLink = (at, name) => link(toAsset(at), own(name || trees[at].name));

function badges(run) {
  const status = of.status(run);
  return [
    status === "finished" ? null : chip(status, status),
    bad.has(of.id(run)) ? h("span", { class: "chip bad", title: bad.get(of.id(run)) }, "bad") : null,
    stale(run).length
      ? h("span", { class: "chip stale", title: "the lock doesn't pin all that it used" },
        "stale")
      : null,
  ];
}
