// The frame: the head with its tabs, and which view an address stands for.

const TABS = [["#/", "Leaderboard"], ["#/compare", "Compare"], ["#/assets", "Assets"],
  ["#/lineage", "Lineage"]];

function route() {
  const [path, query] = location.hash.slice(1).split("?");
  const [view, ...rest] = path.split("/").filter(Boolean);
  let given = rest.join("/");
  try {
    given = decodeURIComponent(given);
  } catch {
    given = "";
  }
  return { view: view || "", given, query: new URLSearchParams(query || "") };
}

function absent(what, given) {
  return [h("h1", null, `No such ${what}`),
    h("p", null, own(given), " is not in this report. ", link("#/", "To the leaderboard"))];
}

function show() {
  const { view, given, query } = route();
  const views = {
    "": () => [boardView(query)],
    run: () => (byId.has(given) ? runView(byId.get(given)) : absent("experiment", given)),
    compare: () => compareView(given),
    assets: () => assetsView(),
    asset: () => (treeOf.has(given) ? assetView(treeOf.get(given)) : absent("asset", given)),
    lineage: () => lineageView(given),
  };
  const here = view === "asset" ? "assets" : view === "run" ? "" : view;
  head(here);
  const main = document.getElementById("main");
  main.replaceChildren(...(views[view] || views[""])().flat(Infinity).filter(Boolean));
  main.dataset.view = view || "board";
}

function head(here) {
  document.getElementById("head").replaceChildren(
    h("div", { class: "title" }, h("strong", null, own(data.project)),
      soft(`${several(count, "experiment")}, ${several(trees.length, "asset")} · ` +
        `made ${date(data.made)}`)),
    h("nav", { "aria-label": "views" }, TABS.map(([to, text]) => {
      const current = to.slice(2) === here;
      const chosen = to === "#/compare" && picked.size ? ` (${picked.size})` : "";
      const href = to === "#/compare" && picked.size ? compareAddress() : to;
      return h("a", { href, "aria-current": current ? "page" : null }, text + chosen);
    }),
    h("button", { type: "button", class: "theme", title: "light or dark", onclick: () => {
      const root = document.documentElement;
      const dark = root.dataset.theme
        ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
    } }, "◐")));
}

addEventListener("hashchange", () => {
  show();
  scrollTo(0, 0);
});
show();
