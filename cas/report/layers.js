// Layers: places for the nodes of a graph without cycles, left to right along its edges.
//
// A node stands one column right of the furthest of its sources. Edges over several columns get
// a bend in each, one for all from the same node, which takes part in the order: they pass
// between nodes and part where they must.

function layers(nodes, edges, { wide, high, gap, between }) {
  const column = columnsOf(nodes, edges);
  const columns = [];
  const put = (node, at) => {
    (columns[at] = columns[at] || []).push(node);
  };
  nodes.forEach((node) => put(node, column.get(node)));
  const parts = new Map();
  const bends = new Set();
  for (const [from, to] of edges) {
    let last = from;
    const join = (next) => {
      parts.set(`${last} > ${next}`, [last, next]);
      last = next;
    };
    for (let at = column.get(from) + 1; at < column.get(to); at += 1) {
      const bend = `bend ${from} ${at}`;
      if (!bends.has(bend)) put(bend, at);
      bends.add(bend);
      join(bend);
    }
    join(to);
  }
  const joined = [...parts.values()];
  const near = neighbours(joined);
  order(columns, near);
  const { y, height } = settle(columns, near, { high, gap });
  const places = new Map();
  columns.forEach((list, at) => list.forEach((node) =>
    places.set(node, { x: at * (wide + between), y: y.get(node) })));
  const paths = joined.map(([from, to]) => ({
    arrow: !bends.has(to), d: curve(places.get(from), places.get(to), wide, bends.has(to)),
  }));
  return { places, paths, width: columns.length * (wide + between) - between, height };
}

function curve(from, to, wide, through) {
  const start = from.x + wide;
  const middle = (start + to.x) / 2;
  return `M${start},${from.y}C${middle},${from.y} ${middle},${to.y} ${to.x},${to.y}${
    through ? `H${to.x + wide}` : ""}`;
}

function columnsOf(nodes, edges, drawn = true) {
  const waiting = new Map(nodes.map((node) => [node, 0]));
  const targets = new Map(nodes.map((node) => [node, []]));
  for (const [from, to] of edges) {
    waiting.set(to, waiting.get(to) + 1);
    targets.get(from).push(to);
  }
  const column = new Map(nodes.map((node) => [node, 0]));
  const left = new Set(nodes);
  let ready = nodes.filter((node) => !waiting.get(node));
  while (left.size) {
    // a cycle is cut where the fewest edges close it
    if (!ready.length) ready = [[...left].sort((a, b) => waiting.get(a) - waiting.get(b))[0]];
    const next = [];
    for (const node of ready) {
      left.delete(node);
      for (const to of targets.get(node)) {
        waiting.set(to, waiting.get(to) - 1);
        if (!left.has(to)) continue;
        column.set(to, Math.max(column.get(to), column.get(node) + 1));
        if (!waiting.get(to)) next.push(to);
      }
    }
    ready = next.filter((node) => left.has(node));
  }
  if (!drawn) return column;
  // what nothing leads to stands beside what it leads to
  for (const node of nodes) {
    if (edges.some(([, to]) => to === node) || !targets.get(node).length) continue;
    column.set(node, Math.max(0, Math.min(...targets.get(node).map((to) => column.get(to))) - 1));
  }
  return column;
}

function neighbours(parts) {
  const found = { before: new Map(), after: new Map() };
  const add = (map, node, other) => {
    if (!map.has(node)) map.set(node, []);
    map.get(node).push(other);
  };
  for (const [from, to] of parts) {
    add(found.before, to, from);
    add(found.after, from, to);
  }
  return found;
}

const mean = (values) => values.reduce((sum, one) => sum + one, 0) / values.length;

// Order each column by the middle of its neighbours in the last one, forth and back.
function order(columns, near) {
  for (let sweep = 0; sweep < 10; sweep += 1) {
    const [side, lists] = sweep % 2 ? [near.after, [...columns].reverse()]
      : [near.before, columns];
    const at = new Map();
    const note = (list) => list.forEach((node, row) => at.set(node, (row + 0.5) / list.length));
    columns.forEach(note);
    for (const list of lists) {
      const middle = new Map(list.map((node) => [node, side.has(node)
        ? mean(side.get(node).map((one) => at.get(one))) : at.get(node)]));
      list.sort((one, other) => middle.get(one) - middle.get(other));
      note(list);
    }
  }
}

// Heights: each node near the middle of its neighbours, none over another.
function settle(columns, near, { high, gap }) {
  const half = (node) => (node.startsWith("bend ") ? 3 : high / 2);
  const y = new Map();
  const stack = (list, wanted) => {
    let bottom = -Infinity;
    const placed = list.map((node) => {
      const at = Math.max(wanted(node), bottom + half(node));
      bottom = at + half(node) + gap;
      return at;
    });
    const shift = mean(list.map((node, row) => wanted(node) - placed[row]));
    list.forEach((node, row) => y.set(node, placed[row] + shift));
  };
  columns.forEach((list) => stack(list, () => 0));
  for (let sweep = 0; sweep < 12; sweep += 1) {
    const lists = sweep % 2 ? [...columns].reverse() : columns;
    for (const list of lists) {
      stack(list, (node) => {
        const around = [...(near.before.get(node) || []), ...(near.after.get(node) || [])];
        return around.length ? mean(around.map((one) => y.get(one))) : y.get(node);
      });
    }
  }
  const nodes = [...y.keys()];
  const top = Math.min(...nodes.map((node) => y.get(node) - half(node)));
  const height = Math.max(...nodes.map((node) => y.get(node) + half(node))) - top;
  for (const node of nodes) y.set(node, y.get(node) - top);
  return { y, height };
}
