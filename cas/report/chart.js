// Curves, drawn by hand: scales with round ticks, one line a run, values under the pointer.

function ticks(low, high, most) {
  if (!(high > low)) return [low];
  const raw = (high - low) / most;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * unit).find((one) => one >= raw * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) {
    found.push(Number((at * step).toPrecision(12)));
  }
  return found;
}

function powers(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  if (last - first < 1) return ticks(low, high, 4).filter((one) => one > 0);
  const every = Math.max(1, Math.ceil((last - first + 1) / 6));
  const found = [];
  for (let at = first; at <= last; at += every) found.push(10 ** at);
  return found;
}

function scale(low, high, from, to, log) {
  const place = log ? Math.log10 : (value) => value;
  const [a, b] = [place(low), place(high)];
  return (value) => (b > a ? from + ((place(value) - a) / (b - a)) * (to - from) : (from + to) / 2);
}

// lines: [{name, colour, points}]; a line without points is left out.
function chart({ title, lines, across, log, height }) {
  const drawn = lines.filter((line) => line.points && line.points.length > 1);
  if (!drawn.length) return null;
  const positive = drawn.every((line) => line.points.every(([, y]) => y > 0));
  const figure = h("figure", { class: "chart" });
  const tip = h("div", { class: "tip", hidden: true });
  const draw = () => {
    const width = Math.max(260, Math.round(figure.clientWidth || 640));
    figure.replaceChildren(h("figcaption", null, own(title),
      log && !positive ? soft(" · not on a log scale: it has values of 0 or less") : null),
    plot(drawn, { width, height: height || 260, across, log: log && positive, tip, title }), tip);
  };
  new ResizeObserver(() => {
    if (figure.dataset.width !== String(figure.clientWidth)) {
      figure.dataset.width = String(figure.clientWidth);
      draw();
    }
  }).observe(figure);
  draw();
  return figure;
}

function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function* valuesOf(lines, axis) {
  for (const line of lines) for (const point of line.points) yield point[axis];
}

function plot(lines, { width, height, across, log, tip, title }) {
  let [left, right] = range(valuesOf(lines, 0));
  let [low, high] = range(valuesOf(lines, 1));
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  if (left === right) right = left + 1;
  const marks = log ? powers(low, high) : ticks(low, high, 5);
  const texts = marks.map(number);
  const edge = 14 + 7 * Math.max(2, ...texts.map((text) => text.length));
  const frame = { left: edge, right: width - 14, top: 10, bottom: height - 36 };
  const x = scale(left, right, frame.left, frame.right, false);
  const y = scale(low, high, frame.bottom - 3, frame.top + 3, log);
  const guide = s("line", { class: "guide", y1: frame.top, y2: frame.bottom, visibility: "hidden" });
  const bottom = ticks(left, right, Math.max(2, Math.floor(width / 75)));
  const drawing = s("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `${title} against ${across}, ${several(lines.length, "curve")}`,
  },
  marks.map((mark, at) => [
    s("line", { class: "grid", x1: frame.left, x2: frame.right, y1: y(mark), y2: y(mark) }),
    s("text", { x: frame.left - 7, y: y(mark) + 4, "text-anchor": "end" }, texts[at]),
  ]),
  s("line", { class: "axis", x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom }),
  bottom.map((mark) =>
    s("text", { x: x(mark), y: frame.bottom + 16, "text-anchor": "middle" }, number(mark))),
  s("text", { x: frame.right, y: height - 5, "text-anchor": "end" }, across),
  guide,
  lines.map((line) => s("polyline", {
    class: `line c${line.colour % 8}${line.colour >= 8 ? " dashed" : ""}`,
    points: line.points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" "),
  })));
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = left + ((event.clientX - box.left) * (width / box.width) - frame.left) *
      ((right - left) / (frame.right - frame.left));
    const near = lines.map((line) => [line, closest(line.points, at)])
      .sort((one, other) => other[1][1] - one[1][1]);
    const place = x(near[0][1][0]);
    guide.setAttribute("x1", place);
    guide.setAttribute("x2", place);
    guide.setAttribute("visibility", "visible");
    tip.replaceChildren(h("b", null, `${across} ${number(near[0][1][0])}`),
      ...near.map(([line, point]) => h("div", null,
        h("i", { class: `dot b${line.colour % 8}` }), own(line.name), " ",
        h("b", null, number(point[1])))));
    tip.hidden = false;
    const half = place > width / 2;
    tip.style.left = half ? "auto" : `${place + 12}px`;
    tip.style.right = half ? `${width - place + 12}px` : "auto";
  });
  drawing.addEventListener("pointerleave", () => {
    tip.hidden = true;
    guide.setAttribute("visibility", "hidden");
  });
  return drawing;
}

function closest(points, at) {
  let [low, high] = [0, points.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < at) low = middle;
    else high = middle;
  }
  return Math.abs(points[low][0] - at) <= Math.abs(points[high][0] - at) ? points[low]
    : points[high];
}

const legend = (lines) => h("ul", { class: "legend" }, lines.map((line) =>
  h("li", null, h("i", { class: `dot b${line.colour % 8}` }), line.label || own(line.name))));

// Charts of some metrics for some runs, with what they are drawn against and how.
function charts(runs, chosen, { small, caption } = {}) {
  const colour = new Map(runs.map((run, at) => [run, at]));
  const place = h("div", { class: small ? "charts small" : "charts" });
  const set = { against: data.step ? "step" : "row", log: false };
  const draw = () => {
    place.replaceChildren(...chosen.map((metric) => chart({
      title: metric.name,
      across: set.against === "step" ? data.step : "row",
      log: set.log,
      height: small ? 210 : 280,
      lines: runs.map((run) => ({
        name: of.name(run), colour: colour.get(run), points: points(metric, run, set.against),
      })),
    })).filter((one) => one !== null));
  };
  draw();
  if (!place.children.length) return null;
  const change = (key) => (value) => {
    set[key] = value;
    draw();
  };
  return h("section", { class: "curves" },
    h("div", { class: "bar" }, caption || null,
      data.step ? choice("against", [["step", data.step], ["row", "row"]], set.against,
        change("against")) : null,
      tick("log scale", false, change("log")),
      data.thinned ? soft("long curves are thinned; their extremes are kept") : null),
    place,
    runs.length > 1 ? legend(runs.map((run) =>
      ({ label: runLink(run), colour: colour.get(run) }))) : null);
}
