// Assets: all trees in one table, and each with what made it and what used it.

const origin = (one) => {
  if (one.madeBy.length) return runLink(one.madeBy[0]);
  if (one.builtOf.length) return own(one.builtOf[0][1]);
  return one.repository ? own(one.repository) : "–";
};

function assetsView() {
  const state = { q: "", sort: "used", down: true };
  const keys = [["asset", (one) => one.name], ["kind", (one) => one.kind || ""],
    ["tree", (one) => one.tree], ["files", (one) => one.files], ["size", (one) => one.size],
    ["state", (one) => -(one.locked * 2 + one.present)],
    ["used", (one) => one.usedBy.length], ["produced by", (one) => one.madeBy.length]];
  const place = h("div");
  const draw = () => {
    const value = keys.find(([name]) => name === state.sort)[1];
    const words = state.q.toLowerCase().split(/\s+/);
    const rows = trees.filter((one) => words.every((word) =>
      `${one.name} ${one.tree} ${one.commit || ""} ${one.repository || ""}`.toLowerCase()
        .includes(word)));
    const compare = (a, b) => (typeof a === "string" ? collator.compare(a, b)
      : (a ?? -1) - (b ?? -1));
    rows.sort((one, other) => (state.down ? -1 : 1) * compare(value(one), value(other)) ||
      one.at - other.at);
    const heads = keys.map(([name]) => h("th", { scope: "col",
      class: ["files", "size", "used"].includes(name) ? "number" : null,
      "aria-sort": name === state.sort ? (state.down ? "descending" : "ascending") : null },
    h("button", { type: "button", onclick: () => {
      state.down = name === state.sort ? !state.down : ["used", "size"].includes(name);
      state.sort = name;
      draw();
    } }, name, h("span", { class: "arrow" },
      name === state.sort ? (state.down ? " ↓" : " ↑") : ""))));
    place.replaceChildren(table(heads, rows.slice(0, 500).map((one) => h("tr", null,
      h("th", { scope: "row", class: "name" }, assetLink(one.at),
        bad.has(one.tree) ? h("span", { class: "chip bad", title: bad.get(one.tree) }, "bad")
          : null),
      h("td", null, own(one.kind || "–")), h("td", null, code(short(one.tree))),
      h("td", { class: "number" }, one.files === null ? "–" : thousands(one.files)),
      h("td", { class: "number" }, bytes(one.size)), h("td", null, stateOf(one)),
      h("td", { class: "number" }, thousands(one.usedBy.length)),
      h("td", null, origin(one)))), { class: "board" }),
    rows.length > 500 ? h("p", { class: "soft" },
      `and ${thousands(rows.length - 500)} more: the filter finds them`) : "");
  };
  draw();
  const box = h("input", { type: "search", oninput: () => {
    state.q = box.value;
    draw();
  } });
  return [h("h1", null, "Assets"), trees.length ? [h("div", { class: "bar" },
    h("label", { class: "grow" }, "filter", box)), place] : h("p", null, "There are none.")];
}

const stateOf = (one) => [one.locked ? chip("locked", "tag") : null,
  one.present ? null : chip("not here", "")];

function assetView(one) {
  const others = trees.filter((other) => other.name === one.name && other !== one);
  const used = new Map();
  for (const run of one.usedBy) {
    const role = uses(run).find(([tree, how]) => tree === one.at && how !== "output")[1];
    if (!used.has(role)) used.set(role, []);
    used.get(role).push(run);
  }
  return [
    h("h1", null, own(one.name), " ", stateOf(one)),
    bad.has(one.tree) ? h("p", { class: "warning" }, own(bad.get(one.tree))) : null,
    facts([["tree", code(one.tree)], ["repository", one.repository], ["commit", one.commit],
      ["files", one.files === null ? null : thousands(one.files)],
      ["size", one.size === null ? null : bytes(one.size)],
      ["other trees of this name", others.length ? others.map((other, at) => [at ? ", " : "",
        assetLink(other.at, short(other.tree)), " ", stateOf(other)]) : null]]),
    h("div", { class: "columns-two" },
      h("section", null, h("h2", null, "Produced by"),
        one.madeBy.length + one.builtOf.length ? null : h("p", { class: "soft" }, one.repository
          ? "It was downloaded, or taken in." : "No record says what made it."),
        runList(one.madeBy),
        one.builtOf.length ? h("ul", { class: "plain" }, one.builtOf.map(([from, via]) =>
          h("li", null, "built of ", assetLink(from), " ", soft(own(brief(via)))))) : null),
      h("section", null, h("h2", null, "Used by"),
        one.usedBy.length + one.builtInto.length ? null
          : h("p", { class: "soft" }, "Nothing that was recorded."),
        [...used].map(([role, runs]) => [role === "input" ? null
          : h("h3", null, "as ", own(role)), runList(runs, one)]),
        one.builtInto.length ? h("ul", { class: "plain" }, one.builtInto.map(([into, via]) =>
          h("li", null, "built into ", assetLink(into), " ", soft(own(brief(via)))))) : null)),
    h("h2", null, "Lineage"), lineage(`t${one.at}`),
  ];
}

const brief = (via) => (/^r1:/.test(via) ? via.slice(0, 15) : via);

// The newest runs; the rest of those that used an asset by the leaderboard's filter.
function runList(runs, one) {
  if (!runs.length) return null;
  const newest = runs.slice(-12).reverse();
  return [h("ul", { class: "plain" }, newest.map((run) =>
    h("li", null, runLink(run), " ", soft(date(of.created(run))), badges(run)))),
  runs.length > newest.length
    ? h("p", null, link(one ? boardOfTrees([one.at], runs) : "#/",
      `and ${thousands(runs.length - newest.length)} more`)) : null];
}
