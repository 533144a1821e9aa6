// The leaderboard: columns, filter, order, pages; what is chosen here is compared elsewhere.

const PAGE = 100;
const MOST_COMPARED = 12;
const picked = new Set();
const collator = new Intl.Collator(undefined, { numeric: true });
const compareAddress = () => `#/compare/${[...picked].map((run) => of.id(run)).join(",")}`;

function pick(run, on) {
  if (on) picked.add(run);
  else picked.delete(run);
  head("");
}

// The inputs of a run, by name, each once.
function inputs(run) {
  const found = new Map();
  for (const [tree, role, name] of uses(run)) if (role !== "output") found.set(name, tree);
  return [...found];
}

function uniform(value) {
  for (const run of all) if (value(run) !== value(0)) return false;
  return true;
}

// The columns there are; those with `shown` false wait to be chosen.
function columnsFor(state) {
  const text = (key, title, value, more) =>
    ({ key, title, value, cell: (run) => own(value(run) ?? "–"), shown: false, ...more });
  const lead = metrics.filter((one) => one.name === state.metric);
  const others = metrics.filter((one) => one.name !== state.metric);
  let [room, places] = [5, 4];
  const measure = (metric) => {
    const way = metric.name === state.metric ? state.direction : metric.direction;
    const value = (run) => best(metric, run, way) ?? null;
    return {
      key: `m:${metric.name}`, title: metric.name, numeric: true, value, metric,
      first: way === "max" ? "down" : "up",
      note: { min: "least", max: "greatest" }[way] || "last",
      cell: (run) => [number(value(run)), metric.skipped.has(run)
        ? h("span", { class: "mark", title: `${several(metric.skipped.get(run), "row")} ` +
          "not finite: left out" }, "*") : null],
      shown: metric.name === state.metric || places-- > 0,
    };
  };
  const parameter = ({ name, value }) => ({
    key: `p:${name}`, title: name, value, cell: (run) => {
      const given = value(run);
      return typeof given === "number" ? number(given) : given === null || given === undefined
        ? "–" : own(given);
    },
    numeric: all.some((run) => typeof value(run) === "number"),
    shown: !uniform(value) && room-- > 0,
  });
  return [
    text("name", "experiment", of.name, { shown: true, cell: (run) => [runLink(run), badges(run),
      of.tags(run).map((tag) => chip(tag, "tag"))] }),
    ...lead.map(measure), ...others.map(measure),
    ...parameters.map(parameter),
    text("assets", "assets", (run) => inputs(run).map(([name]) => name).join(" "), {
      shown: data.uses.length > 0,
      cell: (run) => {
        const found = inputs(run);
        return [found.slice(0, 3).map(([name, tree], at) =>
          [at ? ", " : null, h("a", { href: toAsset(tree), title: name },
            own(name.split("/").pop()))]),
        found.length > 3 ? soft(` +${found.length - 3}`) : null];
      },
    }),
    text("created", "saved", of.created, { shown: true, first: "down",
      cell: (run) => date(of.created(run)) }),
    text("rows", "rows", of.rows, { numeric: true }),
    text("status", "status", of.status), text("note", "note", of.note),
    text("commit", "commit", of.commit), text("branch", "branch", of.branch),
    text("host", "host", of.host), text("user", "user", of.user), text("seed", "seed", of.seed),
    text("gpu", "gpu", of.gpu), text("command", "command", of.command),
    text("id", "id", of.id),
  ];
}

// A filter's words: `lr<0.01`, `model=gpt`, `tag:ablation`, `asset:TinyStories`, or any text.
function matcher(text, columns) {
  const named = new Map(columns.map((column) => [column.title.toLowerCase(), column]));
  const tests = (text.match(/"[^"]*"|\S+/g) || []).map((word) => {
    const parts = /^([^<>=!:]+)(<=|>=|!=|[<>=:])(.+)$/.exec(word);
    if (parts) {
      const [, key, sign, rest] = parts;
      const wanted = rest.replace(/^"|"$/g, "").toLowerCase();
      const special = {
        tree: (run) => uses(run).map(([tree]) => trees[tree].tree).join(" "),
        tag: (run) => of.tags(run).join(" "), asset: (run) => inputs(run).flat().join(" "),
        is: (run) => `${of.status(run)} ${stale(run).length ? "stale" : ""} ${
          bad.has(of.id(run)) ? "bad" : ""}`,
      }[key.toLowerCase()];
      const column = named.get(key.toLowerCase());
      if (special) return (run) => special(run).toLowerCase().includes(wanted);
      if (column) return (run) => holds(column.value(run), sign, wanted);
    }
    const plain = word.replace(/^"|"$/g, "").toLowerCase();
    return (run) => `${of.name(run)} ${of.tags(run).join(" ")} ${of.note(run) || ""} ${
      of.id(run)}`.toLowerCase().includes(plain) ||
      inputs(run).some(([name]) => name.toLowerCase().includes(plain)) ||
      parameters.some(({ value }) => typeof value(run) === "string" &&
        value(run).toLowerCase().includes(plain));
  });
  return (run) => tests.every((test) => test(run));
}

function holds(value, sign, wanted) {
  if (value === null || value === undefined) return false;
  const text = String(value).toLowerCase();
  if (sign === ":") return text.includes(wanted);
  const [a, b] = [Number(value), Number(wanted)];
  const [one, other] = Number.isNaN(a) || Number.isNaN(b) ? [text, wanted] : [a, b];
  return { "<": one < other, ">": one > other, "<=": one <= other, ">=": one >= other,
    "=": one === other, "!=": one !== other }[sign];
}

// Runs in the order of a column; what has no value stands last, equals older first.
function ordered(runs, column, down) {
  const keyed = runs.map((run) => [column.value(run), run]);
  const none = (value) => value === null || value === undefined || value === "";
  const compare = (a, b) => (typeof a === "number" && typeof b === "number"
    ? a - b : collator.compare(String(a), String(b)));
  return keyed.sort(([a, one], [b, other]) => {
    if (none(a) || none(b)) return none(a) - none(b) || one - other;
    return (down ? -compare(a, b) : compare(a, b)) || one - other;
  }).map(([, run]) => run);
}

const board = { hidden: new Set(), added: new Set() };

function firstState(query) {
  const named = metricOf.get(query.get("metric") || "");
  const metric = named || metrics.find((one) => one.direction) || metrics[0];
  const way = query.get("direction");
  const direction = ["min", "max"].includes(way) ? way : metric && metric.direction;
  const state = { metric: metric ? metric.name : "", direction: direction || "min",
    q: query.get("q") || "", every: query.get("every") === "1", page: 0 };
  state.sort = query.get("sort") || (metric ? `m:${metric.name}` : "created");
  state.down = query.has("down") ? query.get("down") === "1"
    : !metric || (state.sort === `m:${metric.name}` && state.direction === "max");
  return state;
}

function remember(state) {
  const query = new URLSearchParams();
  if (state.metric) query.set("metric", state.metric);
  query.set("direction", state.direction);
  query.set("sort", state.sort);
  query.set("down", state.down ? "1" : "0");
  if (state.q) query.set("q", state.q);
  if (state.every) query.set("every", "1");
  history.replaceState(null, "", `#/?${query}`);
}

function boardView(query) {
  if (!count) {
    return h("section", null, h("h1", null, "No experiments yet"),
      h("p", null, "A run of ", code("cas.save_experiment(name, results)"), " makes one."));
  }
  const state = firstState(query);
  const list = h("div");
  const told = h("p", { class: "soft", role: "status" });
  const drawn = h("div");
  const chooser = h("div", { class: "chooser" });
  const change = (given, keep) => {
    Object.assign(state, { page: 0 }, given);
    if (!keep) remember(state);
    update();
  };
  function update() {
    const columns = columnsFor(state);
    const seen = columns.filter((one) => (one.shown || board.added.has(one.key)) &&
      !board.hidden.has(one.key));
    const column = columns.find((one) => one.key === state.sort) || columns[0];
    const fits = matcher(state.q, columns);
    const runs = ordered(all.filter((run) => (state.every || of.latest(run)) && fits(run)),
      column, state.down);
    state.page = Math.min(state.page, Math.max(0, Math.ceil(runs.length / PAGE) - 1));
    const start = state.page * PAGE;
    told.textContent = summary(state, runs, columns);
    list.replaceChildren(rowsOf(runs.slice(start, start + PAGE), start, seen, state, change),
      pager(runs.length, state, change));
    chooser.replaceChildren(...columns.slice(1).map((one) =>
      tick(one.title, seen.includes(one), (on) => {
        (on ? board.added : board.hidden).add(one.key);
        (on ? board.hidden : board.added).delete(one.key);
        change({}, true);
      })));
    const metric = metricOf.get(state.metric);
    const curves = metric && charts(runs.slice(0, 8), [metric],
      { caption: h("h2", null, `The first ${Math.min(8, runs.length)} of the table`) });
    drawn.replaceChildren(...(curves ? [curves] : []));
  }
  update();
  return h("section", null, h("h1", null, "Leaderboard"), controls(state, change), told, list,
    h("details", { class: "columns" }, h("summary", null, "Columns"), chooser), drawn, leftOut());
}

function controls(state, change) {
  const filter = h("input", {
    type: "search", value: state.q, id: "filter", spellcheck: "false", autocomplete: "off",
    placeholder: "name, lr<0.01, tag:ablation, asset:TinyStories, is:stale",
    oninput: () => change({ q: filter.value }),
  });
  const rank = (given) => {
    const metric = metricOf.get(given.metric || state.metric);
    const direction = given.direction || metric.direction || "min";
    change({ metric: metric.name, direction, sort: `m:${metric.name}`,
      down: direction === "max" });
    for (const select of bar.querySelectorAll("select.way")) select.value = direction;
  };
  const way = choice("best is", [["min", "the least"], ["max", "the greatest"]], state.direction,
    (direction) => rank({ direction }));
  way.querySelector("select").className = "way";
  const bar = h("div", { class: "bar" },
    h("label", { class: "grow" }, "filter", filter),
    metrics.length ? [choice("rank by", metrics.map((one) => [one.name, one.name]), state.metric,
      (metric) => rank({ metric })), way] : null,
    all.every((run) => of.latest(run)) ? null
      : tick("every record of a name", state.every, (every) => change({ every })));
  return bar;
}

function summary(state, runs, columns) {
  const metric = metricOf.get(state.metric);
  const skipped = metric ? runs.reduce((sum, run) => sum + (metric.skipped.get(run) || 0), 0) : 0;
  const by = columns.find((one) => one.key === state.sort);
  return `${several(runs.length, "experiment")}, by ${by ? by.title : "experiment"}` +
    `${state.down ? ", greatest first" : ", least first"}` +
    (metric && !metric.direction ? ` · whether small or large ${metric.name} is better, its ` +
      "name doesn't say" : "") +
    (skipped ? ` · ${several(skipped, "row")} of ${metric.name} not finite: left out` : "") +
    (data.unreadable ? ` · ${several(data.unreadable, "file")} can't be read` : "");
}

function rowsOf(runs, start, columns, state, change) {
  const heads = [h("th", { class: "pick", scope: "col" }, h("span", { class: "off" }, "compare")),
    h("th", { class: "rank", scope: "col" }, "#"), ...columns.map((one) => {
      const here = one.key === state.sort;
      const turn = () => change({ sort: one.key,
        down: here ? !state.down : one.first === "down" });
      return h("th", { scope: "col", class: one.numeric ? "number" : null,
        "aria-sort": here ? (state.down ? "descending" : "ascending") : null },
      h("button", { type: "button", onclick: turn, title: one.note || null }, own(one.title),
        h("span", { class: "arrow" }, here ? (state.down ? " ↓" : " ↑") : "")));
    })];
  const rows = runs.map((run, at) => h("tr", { "data-id": of.id(run) },
    h("td", { class: "pick" }, h("input", { type: "checkbox", checked: picked.has(run),
      "aria-label": `compare ${of.name(run)}`, onchange: (event) => {
        if (event.target.checked && picked.size >= MOST_COMPARED) event.target.checked = false;
        else pick(run, event.target.checked);
      } })),
    h("td", { class: "rank" }, String(start + at + 1)),
    columns.map((one, number_) => h(number_ ? "td" : "th", {
      class: one.numeric ? "number" : one.key === "name" ? "name" : null,
      scope: number_ ? null : "row",
    }, one.cell(run)))));
  return table(heads, rows, { class: "board" });
}

function pager(total, state, change) {
  if (total <= PAGE) return h("div");
  const last = Math.ceil(total / PAGE) - 1;
  const to = (page, text) => h("button", { type: "button", disabled: page < 0 || page > last,
    onclick: () => change({ page }, true) }, text);
  return h("div", { class: "bar pager" }, to(state.page - 1, "← previous"),
    soft(`${thousands(state.page * PAGE + 1)} to ` +
      `${thousands(Math.min(total, (state.page + 1) * PAGE))} of ${thousands(total)}`),
    to(state.page + 1, "next →"));
}

function leftOut() {
  const [figures, curves] = data.left_out;
  const tell = (names, what) => (names.length ? h("p", { class: "soft" },
    `For want of room ${what}: `, names.slice(0, 20).map((name, at) => [at ? ", " : "", own(name)]),
    names.length > 20 ? ` and ${names.length - 20} more` : "") : null);
  return [tell(figures, "these columns are left out"), tell(curves, "these have no curves here")];
}
