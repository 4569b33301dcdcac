"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const hidden = { run: new Set(data.runs.filter((r) => !r.shown).map((r) => r.name)), seed: new Set() };
const shown = (run) => !hidden.run.has(run.name);

// Drawing ------------------------------------------------------------------------------------

function element(name, attributes, parent, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function html(name, parent, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function ticks(low, high, count) {
  const rough = (high - low || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

const short = (x) => String(Number(x.toPrecision(4)));

// Axes with two linear scales. With `log`, y is the exponent of a power of ten.
function axes(parent, { x, y, title, xlabel, log = false, width = 330, height = 220 }) {
  const box = { left: 52, right: width - 8, top: 24, bottom: height - 36 };
  const svg = element("svg", { width, height, role: "img", "aria-label": title });
  const scale = (range, a, b) => (v) => a + ((v - range[0]) / (range[1] - range[0] || 1)) * (b - a);
  const px = scale(x, box.left, box.right), py = scale(y, box.bottom, box.top);
  element("text", { x: box.left, y: 14 }, svg, title);
  for (const t of ticks(x[0], x[1], 5)) {
    element("line", { x1: px(t), x2: px(t), y1: box.bottom, y2: box.bottom + 4, stroke: "#222" }, svg);
    element("text", { x: px(t), y: box.bottom + 17, "text-anchor": "middle" }, svg, short(t));
  }
  for (const t of ticks(y[0], y[1], 4)) {
    element("line", { x1: box.left - 4, x2: box.right, y1: py(t), y2: py(t), stroke: "#e4e4e4" }, svg);
    const words = log ? `1e${short(t)}` : short(t);
    element("text", { x: box.left - 7, y: py(t) + 4, "text-anchor": "end" }, svg, words);
  }
  element("path", { d: `M${box.left},${box.top}V${box.bottom}H${box.right}`, fill: "none", stroke: "#222" }, svg);
  element("text", { x: (box.left + box.right) / 2, y: height - 3, "text-anchor": "middle" }, svg, xlabel);
  parent.append(svg);
  return { svg, px, py };
}

function path(points, { px, py, svg }, attributes) {
  if (!points.length) return;
  const d = points.map(([a, b], i) => `${i ? "L" : "M"}${px(a).toFixed(1)},${py(b).toFixed(1)}`).join("");
  element("path", { d, fill: "none", ...attributes }, svg);
}

const extent = (values) => {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null && Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  return low > high ? [0, 1] : [low, high];
};
// A range that reaches to the limits of a quantity, or else to zero.
const reach = ([low, high], [lowest, highest]) => [
  lowest === null ? Math.min(0, low) : lowest,
  highest === null ? high : Math.max(high, highest),
];
const pairs = (xs, ys) => xs.map((x, i) => [x, ys[i]]).filter(([, y]) => y !== null);

// Curves over tasks --------------------------------------------------------------------------

function seedsOf(curve) { return Object.keys(curve.seeds).filter((s) => !hidden.seed.has(s)); }

function drawCurves() {
  const place = document.getElementById("curves");
  place.replaceChildren();
  for (const measure of data.measures) {
    const drawn = data.runs.filter((run) => run.curves[measure.name]);
    const all = drawn.flatMap((run) => Object.values(run.curves[measure.name].seeds).flat());
    const range = reach(extent(all), measure.limits);
    const x = [0, Math.max(1, ...drawn.map((run) => Math.max(0, ...run.curves[measure.name].tasks)))];
    const own = axes(place, { x, y: range, title: `${measure.name} (${measure.when})`, xlabel: "Task" });
    own.svg.classList.add("curve");
    for (const run of drawn.filter(shown)) {
      const curve = run.curves[measure.name], seeds = seedsOf(curve);
      const done = seeds.filter((s) => run.finished.includes(Number(s)));
      const stroke = run.colour, group = { ...own, svg: element("g", { "data-run": run.name }, own.svg) };
      if (done.length === run.finished.length && curve.half_width) {
        const band = curve.tasks.map((t, i) => [t, curve.mean[i], curve.half_width[i]]).filter((b) => b[1] !== null && b[2] !== null);
        const within = (v) => Math.min(range[1], Math.max(range[0], v));
        const upper = band.map(([t, m, h]) => [t, within(m + h)]);
        const edge = [...upper, ...band.reverse().map(([t, m, h]) => [t, within(m - h)])];
        path(edge, group, { fill: stroke, "fill-opacity": 0.15, stroke: "none" });
      }
      for (const seed of seeds) {
        const dash = run.finished.includes(Number(seed)) ? "" : "3,3";
        path(pairs(curve.tasks, curve.seeds[seed]), group, { stroke, "stroke-width": 0.7, opacity: 0.55, "stroke-dasharray": dash });
      }
      const mean = curve.tasks.map((_, i) => {
        const values = done.map((s) => curve.seeds[s][i]);
        return !values.length || values.includes(null) ? null : values.reduce((a, b) => a + b, 0) / values.length;
      });
      path(pairs(curve.tasks, mean), group, { stroke, "stroke-width": 2 });
    }
  }
}

// Spectra ------------------------------------------------------------------------------------

const GRID = 300;

// The logarithm of the density of one task, averaged over its random vectors.
function density(spectrum, index, low, high, width) {
  const points = [], norm = width * Math.sqrt(2 * Math.PI);
  for (let i = 0; i <= GRID; i++) {
    const at = low + ((high - low) * i) / GRID;
    let total = 0;
    spectrum.nodes[index].forEach((nodes, vector) => nodes.forEach((node, k) => {
      const z = (at - node) / width;
      if (Math.abs(z) < 8) total += (spectrum.weights[index][vector][k] * Math.exp(-z * z / 2)) / norm;
    }));
    const value = total / spectrum.nodes[index].length;
    points.push([at, Math.max(-5, Math.log10(value || 1e-300))]);
  }
  return points;
}

function drawSpectra() {
  const place = document.getElementById("spectra"), slider = document.getElementById("task");
  place.replaceChildren();
  const task = data.spectrum_tasks[Number(slider.value)];
  document.getElementById("task-shown").textContent = task === undefined ? "" : `${task}`;
  for (const run of data.runs.filter((r) => shown(r) && r.spectrum)) {
    const index = run.spectrum.tasks.indexOf(task), range = extent(run.spectrum.nodes.flat(3));
    const width = Math.max((range[1] - range[0]) / 150, 1e-9);
    const x = [range[0] - 4 * width, range[1] + 4 * width];
    const title = `${run.name}, seed ${run.spectrum.seed}, ${run.spectrum.when} ${task}`;
    const own = axes(place, { x, y: [-5, 2], log: true, title, xlabel: `Eigenvalue (width ${short(width)})` });
    own.svg.classList.add("spectrum");
    own.svg.dataset.task = task;
    if (index >= 0) path(density(run.spectrum, index, x[0], x[1], width), own, { stroke: run.colour, "stroke-width": 1.3 });
  }
}

// Curvature against performance -----------------------------------------------------------------

// The least-squares line through the points, and their correlation.
function line(points) {
  const n = points.length, mean = (k) => points.reduce((s, p) => s + p[k], 0) / n;
  const mx = mean(0), my = mean(1);
  const sum = (f) => points.reduce((s, p) => s + f(p[0] - mx, p[1] - my), 0);
  const xx = sum((a) => a * a), xy = sum((a, b) => a * b), yy = sum((_, b) => b * b);
  return n < 2 || xx === 0 ? null : { slope: xy / xx, start: my - (xy / xx) * mx, r: yy > 0 ? xy / Math.sqrt(xx * yy) : 0 };
}

function drawScatter() {
  const place = document.getElementById("scatter");
  place.replaceChildren();
  for (const [name, title] of [["published", "Published estimator"], ["quadrature", "Quadrature"]]) {
    const drawn = data.runs.filter((run) => shown(run) && run.points);
    const cloud = drawn.flatMap((run) => run.points[name].map((v, i) => [v, run.points.performance[i]]));
    const x = extent(data.runs.flatMap((run) => (run.points ? run.points[name] : [])));
    const fit = line(cloud), words = fit ? `${title}: r = ${fit.r.toFixed(2)}` : title;
    const y = reach(extent(cloud.map((point) => point[1])), drawn.length ? drawn[0].points.limits : [0, 1]);
    const own = axes(place, { x, y, title: words, xlabel: `Fraction of |eigenvalue| > ${data.epsilon}`, width: 420 });
    own.svg.classList.add("scatter");
    for (const run of drawn) run.points[name].forEach((v, i) => {
      const dot = element("circle", { cx: own.px(v), cy: own.py(run.points.performance[i]), r: 3, fill: run.colour, "fill-opacity": 0.7 }, own.svg);
      element("title", {}, dot, `${run.name}, task ${run.points.tasks[i]}`);
    });
    if (fit) path(x.map((v) => [v, Math.min(y[1], Math.max(y[0], fit.start + fit.slope * v))]), own, { stroke: "#333", "stroke-dasharray": "2,3" });
  }
}

// The page -----------------------------------------------------------------------------------

function toggles(kind, names, colours) {
  const set = html("fieldset", document.getElementById("toggles"));
  html("legend", set, kind === "run" ? "Algorithms" : "Seeds");
  for (const name of names) {
    const label = html("label", set), box = html("input", label);
    Object.assign(box, { type: "checkbox", checked: !hidden[kind].has(name) });
    box.dataset[kind] = name;
    const mark = html("span", label, kind === "run" ? " \u25A0 " : " ");
    if (colours) mark.style.color = colours[name];
    label.append(name);
    box.addEventListener("change", () => {
      hidden[kind][box.checked ? "delete" : "add"](name);
      draw();
    });
  }
}

function draw() { drawCurves(); drawSpectra(); drawScatter(); }

function start() {
  const first = data.runs.length;
  document.getElementById("about").textContent =
    `${first} run${first === 1 ? "" : "s"} in ${data.folders.map((f) => f.folder).join(", ")}; written ${data.written}.`;
  toggles("run", data.runs.map((r) => r.name), Object.fromEntries(data.runs.map((r) => [r.name, r.colour])));
  toggles("seed", [...new Set(data.runs.flatMap((r) => r.seeds.map(String)))]);
  const slider = document.getElementById("task");
  slider.max = Math.max(0, data.spectrum_tasks.length - 1);
  slider.addEventListener("input", drawSpectra);
  document.getElementById("spectra-section").hidden = !data.spectrum_tasks.length;
  document.getElementById("scatter-section").hidden = !data.runs.some((run) => run.points);
  const table = document.getElementById("runs"), head = html("tr", table);
  for (const word of ["run", "finished", "diverged", "unfinished", ...data.measures.map((m) => m.name), "settings"]) html("th", head, word);
  for (const run of data.runs) {
    const row = html("tr", table);
    for (const word of [run.name, run.finished.length, run.diverged.join("; "), run.unfinished.length]) html("td", row, word);
    for (const measure of data.measures) html("td", row, run.last[measure.name] || "-");
    html("code", html("td", row), JSON.stringify(run.settings));
  }
  const settings = document.getElementById("settings");
  for (const folder of data.folders) {
    html("h3", settings, folder.folder);
    html("pre", settings, folder.command);
    const details = html("details", settings);
    html("summary", details, "all settings and the record of the run");
    html("pre", details, folder.config);
    if (folder.sweep) html("pre", settings, folder.sweep);
  }
  draw();
}

start();
