// One experiment whole, and several side by side.

function runView(run) {
  const same = all.filter((other) => other !== run && of.name(other) === of.name(run));
  const used = uses(run).filter(([, role]) => role !== "output");
  const made = uses(run).filter(([, role]) => role === "output");
  const shown = metrics.filter((metric) => metric.last[run] !== null || metric.min[run] !== null ||
    metric.skipped.has(run));
  return [
    h("h1", null, own(of.name(run)), badges(run)),
    h("p", null, of.tags(run).map((tag) => chip(tag, "tag")), " ",
      of.note(run) ? own(of.note(run)) : null),
    bad.has(of.id(run)) ? h("p", { class: "warning" }, own(bad.get(of.id(run)))) : null,
    stale(run).map(([tree, , name]) => h("p", { class: "warning" }, pinned.has(name)
      ? ["The lock now pins another tree of ", assetLink(tree, name), ": ",
        assetLink(pinned.get(name).at, short(pinned.get(name).tree))]
      : ["The lock pins no ", assetLink(tree, name), " now"])),
    same.length ? h("p", { class: "soft" }, "Also saved by this name: ",
      same.slice(-10).reverse().map((other, at) => [at ? ", " : "",
        link(toRun(other), date(of.created(other)))])) : null,
    h("div", { class: "columns-two" },
      h("section", null, h("h2", null, "Figures"), figures(run, shown)),
      h("section", null, h("h2", null, "Assets"), assetList(used), assetList(made),
        used.length + made.length ? null : h("p", { class: "soft" }, "It recorded none."))),
    charts([run], shown, { small: true, caption: h("h2", null, "Curves") }),
    h("div", { class: "columns-two" },
      h("section", null, h("h2", null, "Metadata"), facts(parameters.map(({ name, value }) => {
        const given = value(run);
        return [name, given === undefined || given === null ? null : own(given)];
      }))),
      h("section", null, h("h2", null, "Run"), facts([
        ["id", code(of.id(run))], ["saved", date(of.created(run))], ["status", of.status(run)],
        ["rows", thousands(of.rows(run))], ...captured(run)]))),
    used.length + made.length ? [h("h2", null, "Lineage"), lineage(`r${run}`)] : null,
  ];
}

const CAPTURED = ["commit", "branch", "dirty", "moved", "diff", "packages", "lock", "host", "user",
  "python", "seed", "gpu", "cas", "command"];
const captured = (run) => CAPTURED.map((key) => [key, yes(of[key](run))]);
const yes = (value) => (value === true ? "yes" : value === false ? "no" : value);

function figures(run, shown) {
  if (!shown.length) return h("p", { class: "soft" }, "It has no columns of numbers.");
  return table(["column", "best", "last", "least", "greatest"].map((text, at) =>
    h("th", { scope: "col", class: at ? "number" : null }, text)),
  shown.map((metric) => h("tr", null, h("th", { scope: "row" }, own(metric.name),
    metric.skipped.has(run)
      ? soft(` ${several(metric.skipped.get(run), "row")} not finite`) : null),
  [metric.direction ? best(metric, run) : null, metric.last[run], metric.min[run], metric.max[run]]
    .map((value) => h("td", { class: "number" }, number(value))))));
}

function assetList(list) {
  if (!list.length) return null;
  return h("ul", { class: "plain" }, list.map(([tree, role, name]) =>
    h("li", null, chip(roleOf(role), role === "output" ? "made" : ""),
      " ", assetLink(tree, name), " ", soft(code(short(trees[tree].tree))),
      bad.has(trees[tree].tree) ? chip("bad", "bad") : null)));
}

function compareView(given) {
  const runs = given.split(",").filter((id) => byId.has(id)).map((id) => byId.get(id));
  if (runs.length) {
    picked.clear();
    runs.forEach((run) => picked.add(run));
    head("compare");
  }
  if (runs.length < 2) {
    return [h("h1", null, "Compare"), h("p", null, "Tick two or more experiments in the ",
      link("#/", "leaderboard"), ", then come back."), add(runs)];
  }
  const place = h("div");
  const draw = (whole) => place.replaceChildren(...differences(runs, whole));
  draw(false);
  const curved = metrics.filter((metric) => runs.some((run) => metric.curves.has(run)));
  return [h("h1", null, "Compare"), h("div", { class: "bar" }, add(runs),
    tick("also what is the same", false, draw)), place,
  charts(runs, curved.slice(0, 24), { small: curved.length > 1,
    caption: h("h2", null, "Curves") })];
}

function add(runs) {
  if (!count) return null;
  const names = h("datalist", { id: "names" }, all.filter((run) => of.latest(run)).slice(-1000)
    .map((run) => h("option", { value: of.name(run) })));
  const box = h("input", { list: "names", placeholder: "an experiment's name", onchange: () => {
    const found = all.filter((run) => of.name(run) === box.value).pop();
    if (found === undefined || runs.includes(found)) return;
    location.hash = `#/compare/${[...runs, found].map((run) => of.id(run)).join(",")}`;
  } });
  return h("label", { class: "grow" }, "add", box, names);
}

const shownAs = (value) => (value === null || value === undefined || typeof value === "number"
  ? number(value ?? null) : own(value));

function differences(runs, whole) {
  const sections = [];
  const tell = (title, rows) => {
    const kept = rows.filter(([, values]) => whole
      ? values.some((value) => value !== null && value !== undefined)
      : values.some((value) => String(value ?? "") !== String(values[0] ?? "")));
    if (kept.length) sections.push([title, kept]);
  };
  tell("Metrics", metrics.map((metric) => {
    const values = runs.map((run) => best(metric, run));
    const finite = values.filter((value) => value !== null);
    const top = metric.direction && finite.length > 1
      ? Math[metric.direction](...finite) : null;
    return [[own(metric.name), soft(` ${{ min: "least", max: "greatest" }[metric.direction] ||
      "last"}`)], values, (value) => h("span", { class: value === top ? "best" : null },
      number(value))];
  }));
  tell("Metadata", parameters.map(({ name, value }) => [own(name), runs.map(value)]));
  const slots = new Map();
  runs.forEach((run, at) => uses(run).forEach(([tree, role, name]) => {
    const key = JSON.stringify([name, role]);
    if (!slots.has(key)) slots.set(key, runs.map(() => null));
    slots.get(key)[at] = tree;
  }));
  tell("Assets", [...slots].map(([key, values]) => {
    const [name, role] = JSON.parse(key);
    return [[own(name), soft(` ${roleOf(role)}`)], values, (tree) => (tree === null ? "–"
      : assetLink(tree, short(trees[tree].tree)))];
  }));
  tell("Run", [...CAPTURED.map((key) => [key, runs.map((run) => yes(of[key](run)))]),
    ["status", runs.map(of.status)], ["rows", runs.map(of.rows)]]);
  const width = runs.length + 1;
  const rows = sections.map(([title, kept]) => [
    h("tr", { class: "part" }, h("th", { colspan: width, scope: "colgroup" }, title)),
    kept.map(([name, values, cell]) => h("tr", null, h("th", { scope: "row" }, name),
      values.map((value) => h("td", null, (cell || shownAs)(value)))))]);
  if (!rows.length) return [h("p", null, "They differ in nothing that was recorded.")];
  const heads = [h("th", null), ...runs.map((run, at) => h("th", { scope: "col" },
    h("i", { class: `dot b${at % 8}` }), runLink(run), badges(run), " ",
    h("button", { type: "button", class: "drop", "aria-label": `leave out ${of.name(run)}`,
      onclick: () => {
        picked.delete(run);
        location.hash = compareAddress();
      } }, "×")))];
  return [table(heads, rows.flat(), { class: "compare" })];
}
