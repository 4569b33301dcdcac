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

const short = (x) => {
  const plain = String(Number(x.toPrecision(4)));
  return plain.length < 7 ? plain : x.toExponential(1).replace(".0e", "e").replace("e+", "e");
};

// A panel with its title. With `log`, y is the exponent of a power of ten.
function axes(parent, { x, y, title, xlabel, log = false }) {
  const width = data.columns + 60, height = 220;
  const box = { left: 52, right: width - 8, top: 8, bottom: height - 36 };
  const figure = html("figure", parent);
  html("figcaption", figure, title);
  const svg = element("svg", { width, height, role: "img", "aria-label": title });
  const scale = (range, a, b) => (v) => a + ((v - range[0]) / (range[1] - range[0] || 1)) * (b - a);
  const px = scale(x, box.left, box.right), py = scale(y, box.bottom, box.top);
  for (const t of ticks(x[0], x[1], 5)) {
    element("line", { x1: px(t), x2: px(t), y1: box.bottom, y2: box.bottom + 4, stroke: "#222" }, svg);
    element("text", { x: px(t), y: box.bottom + 17, "text-anchor": "middle" }, svg, short(t));
  }
  // Powers of ten have whole exponents.
  for (const t of log ? ticks(y[0], y[1], Math.min(4, y[1] - y[0])) : ticks(y[0], y[1], 4)) {
    element("line", { x1: box.left - 4, x2: box.right, y1: py(t), y2: py(t), stroke: "#e4e4e4" }, svg);
    const words = log ? `1e${short(t)}` : short(t);
    element("text", { x: box.left - 7, y: py(t) + 4, "text-anchor": "end" }, svg, words);
  }
  element("path", { d: `M${box.left},${box.top}V${box.bottom}H${box.right}`, fill: "none", stroke: "#222" }, svg);
  element("text", { x: (box.left + box.right) / 2, y: height - 3, "text-anchor": "middle" }, svg, xlabel);
  figure.append(svg);
  return { svg, px, py, box };
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
// The smallest and the largest value of lines.
function span(lines) {
  let low = Infinity, high = -Infinity;
  for (const line of lines) for (const values of [line.low, line.high || line.low]) {
    const ends = extent(values);
    if (values.some((v) => v !== null)) { low = Math.min(low, ends[0]); high = Math.max(high, ends[1]); }
  }
  return low > high ? [0, 1] : [low, high];
}

// Curves over tasks --------------------------------------------------------------------------

function seedsOf(curve) { return Object.keys(curve.seeds).filter((s) => !hidden.seed.has(s)); }

// The points of a line: in each column of pixels its smallest and its largest value.
function points(tasks, line, place) {
  const found = [];
  tasks.forEach((task, i) => {
    const ends = line.high ? [line.low[i], line.high[i]] : [line.low[i]];
    if (ends.includes(null)) return;
    for (const v of i % 2 ? ends.reverse() : ends) found.push([task, place(v)]);
  });
  return found;
}

// The region between the two ends of a line.
function region(tasks, line, place) {
  const high = line.high || line.low;
  const known = tasks.map((t, i) => [t, line.low[i], high[i]]).filter((b) => b[1] !== null && b[2] !== null);
  return [...known.map(([t, , h]) => [t, place(h)]), ...known.reverse().map(([t, l]) => [t, place(l)])];
}

// The mean over some seeds, of the mean values in each column.
function average(curve, seeds) {
  const lines = seeds.map((s) => curve.seeds[s].mean || curve.seeds[s].low);
  return { low: curve.tasks.map((_, i) => {
    const values = lines.map((line) => line[i]);
    return values.includes(null) ? null : values.reduce((a, b) => a + b, 0) / values.length;
  }) };
}

// Where a measure is on its axis, and the range of that axis. A logarithmic axis shows 0 at `zero`.
function axisOf(measure, curves) {
  const seeds = curves.flatMap((curve) => Object.values(curve.seeds));
  if (measure.zero === null) {
    const range = reach(span(seeds), measure.limits);
    return { range, place: (v) => Math.min(range[1], Math.max(range[0], v)) };
  }
  const exponent = (v) => Math.log10(Math.max(v, measure.zero));
  const ends = span([...seeds, ...curves.map((curve) => curve.bracket).filter(Boolean)]).map(exponent);
  const most = measure.limits[1] === null ? ends[1] : Math.min(ends[1], exponent(measure.limits[1]));
  const range = [Math.floor(ends[0]), Math.max(Math.floor(ends[0]) + 1, Math.ceil(most))];
  return { range, place: (v) => Math.min(range[1], exponent(v)) };
}

function drawCurves() {
  const panels = document.getElementById("curves");
  panels.replaceChildren();
  for (const measure of data.measures) {
    const drawn = data.runs.filter((run) => run.curves[measure.name]);
    const { range, place } = axisOf(measure, drawn.map((run) => run.curves[measure.name]));
    const log = measure.zero !== null;
    const title = `${measure.name} (${measure.when})${measure.bracket ? ", with its bracket" : ""}`;
    const own = axes(panels, { x: [0, Math.max(1, data.num_tasks - 1)], y: range, title, xlabel: "Task", log });
    own.svg.classList.add("curve");
    own.svg.dataset.measure = measure.name;
    if (measure.guess !== null) {
      const y = own.py(place(measure.guess));
      const line = element("line", { x1: own.box.left, x2: own.box.right, y1: y, y2: y, class: "guess" }, own.svg);
      element("title", {}, line, `guessing: ${short(measure.guess)}`);
    }
    for (const run of drawn.filter(shown)) drawRun(run, run.curves[measure.name], own, place, measure.zero);
  }
}

function drawRun(run, curve, own, place, zero) {
  const seeds = seedsOf(curve), done = seeds.filter((s) => run.finished.includes(Number(s)));
  const stroke = run.colour, group = { ...own, svg: element("g", { "data-run": run.name }, own.svg) };
  const whole = done.length === run.finished.length;
  const area = curve.bracket ? ["bracket", curve.bracket] : ["band", curve.band];
  if (whole && area[1]) path(region(curve.tasks, area[1], place), group, { class: area[0], fill: stroke });
  for (const seed of seeds) {
    const dash = run.finished.includes(Number(seed)) ? "" : "3,3";
    path(points(curve.tasks, curve.seeds[seed], place), group, { stroke, "stroke-width": 0.7, opacity: 0.55, "stroke-dasharray": dash });
  }
  const mean = done.length === 1 ? curve.seeds[done[0]] : whole && curve.mean ? curve.mean : average(curve, done);
  if (done.length) path(points(curve.tasks, mean, place), group, { stroke, "stroke-width": 2 });
  if (zero === null) return;
  const lost = curve.tasks.filter((_, i) => seeds.some((s) => curve.seeds[s].low[i] !== null && curve.seeds[s].low[i] <= 0));
  const marks = lost.map((task) => `M${(own.px(task) - 3).toFixed(1)},${(own.py(place(0)) - 3).toFixed(1)}h6l-3,6z`);
  if (lost.length) element("path", { d: marks.join(""), class: "zero", stroke }, group.svg);
}

// Spectra ------------------------------------------------------------------------------------

function drawSpectra() {
  const place = document.getElementById("spectra"), slider = document.getElementById("task");
  place.replaceChildren();
  const task = data.spectrum_tasks[Number(slider.value)];
  document.getElementById("task-shown").textContent = task === undefined ? "" : `${task}`;
  for (const run of data.runs.filter((r) => shown(r) && r.spectrum)) {
    const { tasks, ends, densities, seed, when, width } = run.spectrum, index = tasks.indexOf(task);
    const title = `${run.label}, seed ${seed}, ${when} ${task}`;
    const own = axes(place, { x: ends, y: [-5, 2], log: true, title, xlabel: `Eigenvalue (width ${short(width)})` });
    own.svg.classList.add("spectrum");
    own.svg.dataset.task = task;
    const values = densities[index] || [], step = (ends[1] - ends[0]) / (values.length - 1);
    path(values.map((v, i) => [ends[0] + i * step, v]), own, { stroke: run.colour, "stroke-width": 1.3 });
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

// The ends of the part of a line that is inside a panel.
function inside({ slope, start }, x, y) {
  if (slope === 0) return x;
  const [a, b] = y.map((v) => (v - start) / slope).sort((p, q) => p - q);
  return [Math.max(x[0], a), Math.min(x[1], b)];
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
    const own = axes(place, { x, y, title: words, xlabel: `Fraction of |eigenvalue| > ${data.epsilon}` });
    own.svg.classList.add("scatter");
    for (const run of drawn) run.points[name].forEach((v, i) => {
      const dot = element("circle", { cx: own.px(v), cy: own.py(run.points.performance[i]), r: 3, fill: run.colour, "fill-opacity": 0.7 }, own.svg);
      element("title", {}, dot, `${run.label}, task ${run.points.tasks[i]}`);
    });
    if (fit) path(inside(fit, x, y).map((v) => [v, fit.start + fit.slope * v]), own, { class: "fit" });
  }
}

// The page -----------------------------------------------------------------------------------

function toggles(kind, names, colours, labels) {
  const set = html("fieldset", document.getElementById("toggles"));
  html("legend", set, kind === "run" ? "Algorithms" : "Seeds");
  for (const name of names) {
    const label = html("label", set), box = html("input", label);
    Object.assign(box, { type: "checkbox", checked: !hidden[kind].has(name) });
    box.dataset[kind] = name;
    const mark = html("span", label, kind === "run" ? " \u25A0 " : " ");
    if (kind === "run") mark.style.color = colours[name];
    label.append(labels[name] || name);
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
  const of = (key) => Object.fromEntries(data.runs.map((r) => [r.name, r[key]]));
  toggles("run", data.runs.map((r) => r.name), of("colour"), of("label"));
  toggles("seed", [...new Set(data.runs.flatMap((r) => r.seeds.map(String)))], {}, {});
  const slider = document.getElementById("task");
  slider.max = Math.max(0, data.spectrum_tasks.length - 1);
  slider.addEventListener("input", drawSpectra);
  document.getElementById("spectra-section").hidden = !data.spectrum_tasks.length;
  document.getElementById("scatter-section").hidden = !data.runs.some((run) => run.points);
  for (const { title, note, rows } of data.tables) {
    const place = document.getElementById("tables");
    html("h2", place, title);
    html("p", place, note).className = "note";
    const scroll = html("div", place);
    scroll.className = "scroll";
    const table = html("table", scroll);
    rows.forEach((cells, i) => {
      const row = html("tr", table);
      for (const cell of cells) html(i ? "td" : "th", row, cell);
    });
  }
  const table = document.getElementById("runs"), head = html("tr", table);
  for (const word of ["run", "finished", "diverged", "unfinished", ...data.measures.map((m) => m.name), "settings"]) html("th", head, word);
  for (const run of data.runs) {
    const row = html("tr", table);
    for (const word of [run.label, run.finished.length, run.diverged.join("; "), run.unfinished.length]) html("td", row, word);
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
