// The figures of one kernel, drawn with Observable Plot from what figures.py gives. Each is a function of a Kernel.
let data; // of all kernels
const WORDS = 2, KEYS = 3; // columns of a table that are no numbers; that say which point it is
const FURTHEST = 24; // letters of a name on an axis
const TIP = { fontSize: 12, lineHeight: 1.3, lineWidth: 36 };
const PERCENT = x => `${Math.round(x * 100)} %`;
const short = text => text.length > FURTHEST ? `${text.slice(0, FURTHEST - 1)}…` : text;
const colour = way => `var(--way-${way.place})`;
const DASHES = ["", "5 3", "1.5 3", "8 3 2 3"];
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "wye", "cross"];

function element(name, about = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function mark(way) { // a way's colour, line and symbol, as a key
  const svg = Plot.plot({ width: 26, height: 12, margin: 0, axis: null, x: { domain: [0, 2] }, y: { domain: [-1, 1] }, marks: [
    Plot.lineY([0, 2], { x: d => d, y: 0, stroke: colour(way), strokeDasharray: DASHES[way.line % 4] }), dots([1], way, { x: d => d, y: 0 }),
  ] });
  svg.setAttribute("aria-hidden", "true");
  return svg;
}

function dots(points, way, about) {
  return Plot.dot(points, { r: 4, symbol: SYMBOLS[way.place % 7], stroke: colour(way), fill: way.line ? "var(--page)" : colour(way), strokeWidth: 1.5, ...about });
}

// A figure with its caption, a description for who does not see it, and a tip at each point for mouse and arrow keys.
function figure(title, note, alt, options, across = false, key = []) {
  const svg = Plot.plot({ marginTop: 26, marginBottom: 38, ...options, style: { background: "transparent", color: "var(--ink)", fontSize: "12px" } });
  svg.setAttribute("role", "img");
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("aria-label", `${title}. ${alt}`);
  svg.addEventListener("keydown", event => step(svg, event));
  const items = key.map(([css, name]) => element("li", {}, element("i", { style: `background: ${css}` }), name));
  return element("figure", { className: across ? "across" : "" },
    element("figcaption", {}, title, ...(note ? [element("small", {}, note)] : [])), svg, ...(items.length ? [element("ul", { className: "key" }, ...items)] : []));
}

// The arrow keys go from mark to mark, and show the tip that the mouse would.
function step(svg, event) {
  const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const marks = [...svg.querySelectorAll("[data-tipped] > *")];
  if (!move || !marks.length) return;
  event.preventDefault();
  svg.at = ((svg.at ?? (move > 0 ? -1 : 0)) + move + marks.length) % marks.length;
  const box = marks[svg.at].getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, pointerType: "mouse", bubbles: true }));
}

// Marks that a tip belongs to are found by the arrow keys.
const tipped = { render(index, scales, values, dimensions, context, next) {
  const drawn = next(index, scales, values, dimensions, context);
  drawn?.setAttribute("data-tipped", "");
  return drawn;
} };

function tips(points, about) {
  return Plot.tip(points, Plot.pointer({ ...TIP, ...about }));
}

const label = (kernel, p) => `${kernel.way(p).name}, ${p.workers} worker${p.workers === 1 ? "" : "s"}`;
const told = (kernel, points, what) => points.slice(0, 12).map(p => `${kernel.way(p).name} with ${p.workers}: ${what(p)}`).join("; ");
const left = names => 14 + 6.6 * Math.min(FURTHEST, Math.max(4, ...names.map(name => name.length)));

function rows(kernel, points, about) { // an axis with a row a way
  const names = points.map(p => kernel.way(p).name);
  return { height: 50 + 28 * points.length, marginTop: 8, marginLeft: left(names), y: { domain: points.map(p => p.way), label: null, tickSize: 0, tickFormat: k => short(kernel.kernel.ways[k].name) }, ...about };
}

function compared(kernel, width) { // a row a way: every sample, the median with its interval, what was allowed, N-fold
  const points = kernel.at();
  if (!points.length) return null;
  const samples = points.flatMap(p => p.samples.map(x => ({ p, x })));
  const ideal = [...new Set(points.map(p => p.workers))];
  const most = Math.max(...ideal, ...samples.map(d => d.x), ...points.map(p => p.high ?? p.speedup));
  return figure(`Ways compared, ${ideal.join(" and ")} worker${ideal.at(-1) === 1 ? "" : "s"}`,
    "A pale dot a round; the mark is the median, the bar its 95 % interval, | what the machine allows, dotted N-fold.",
    told(kernel, points, p => `${p.speedup} times as fast`),
    rows(kernel, points, { width, x: { label: "speedup", domain: [0, most * 1.05], grid: true }, marks: [
      Plot.ruleX(ideal, { strokeDasharray: "2 3", stroke: "var(--faint)" }),
      Plot.dot(samples, { x: "x", y: d => d.p.way, r: 2.5, fill: d => colour(kernel.way(d.p)), fillOpacity: 0.35 }),
      Plot.ruleY(points.filter(p => p.low !== undefined), { x1: "low", x2: "high", y: "way", stroke: p => colour(kernel.way(p)), strokeWidth: 2.5 }),
      Plot.tickX(points.filter(p => p.ceiling !== undefined), { x: "ceiling", y: "way", stroke: "var(--ink)", strokeWidth: 2, inset: 4 }),
      ...points.map(p => dots([p], kernel.way(p), { x: "speedup", y: "way", render: tipped.render })),
      tips(points, { x: "speedup", y: "way", title: p => `${label(kernel, p)}\n${p.of}${p.cause ? `\n${p.cause}` : ""}` }),
    ] }));
}

function lines(kernel, points, y, low, high) { // a line a way with its intervals, beside each other where they meet
  const ways = kernel.shown.filter(k => !kernel.hidden.has(k));
  return ways.flatMap((k, place) => {
    const own = points.filter(p => p.way === k && p[y] !== undefined), way = kernel.kernel.ways[k];
    const about = { x: "workers", dx: (place - (ways.length - 1) / 2) * Math.min(4, 24 / ways.length) };
    return [Plot.lineY(own, { ...about, y, stroke: colour(way), strokeWidth: 1.6, strokeDasharray: DASHES[way.line % 4] }),
      Plot.ruleX(own.filter(p => p.low !== undefined), { ...about, y1: low, y2: high, stroke: colour(way), strokeWidth: 1.6 }),
      dots(own, way, { ...about, y, render: tipped.render })];
  });
}

// What the machine allowed each variant that is shown: a line each, the median over its ways, named where there are several.
function ceilings(kernel, y) {
  const by = new Map();
  for (const p of kernel.visible()) if (p.ceiling !== undefined) {
    const { line } = kernel.way(p), own = by.get(line) ?? new Map();
    by.set(line, own.set(p.workers, [...(own.get(p.workers) ?? []), p.ceiling]));
  }
  return [...by].flatMap(([line, own]) => {
    const path = [...own].sort((a, b) => a[0] - b[0]).map(([n, all]) => [n, y(n, all.sort((a, b) => a - b)[all.length >> 1])]);
    const about = { x: d => d[0], y: d => d[1] };
    return [Plot.lineY(path, { ...about, stroke: "var(--ink)", strokeDasharray: "6 3", strokeWidth: 1 }),
      ...(by.size > 1 ? [Plot.text(path.slice(-1), { ...about, text: () => short(kernel.kernel.variants[line]), textAnchor: "end", dy: -8 - 12 * line, stroke: "var(--page)", strokeWidth: 4, fill: "var(--ink)" })] : [])];
  });
}

const workersAxis = (counts, most) => ({ label: "workers", inset: 18, type: most > 8 ? "log" : "linear", base: 2, ticks: counts.length > 12 ? 8 : counts, tickFormat: n => String(Math.round(n)), domain: [1, Math.max(most, 2)] });

function speedups(kernel, width) {
  const points = kernel.visible(), { counts } = kernel.kernel;
  if (!points.length || counts.at(-1) < 2) return null;
  const laws = kernel.kernel.laws.filter(law => !kernel.hidden.has(law.way));
  const further = kernel.further ? laws.flatMap(law => law.further.map(([n, s, low, high]) => ({ law, n, s, low, high }))) : [];
  const most = Math.max(counts.at(-1), ...further.map(d => d.n));
  const ticks = [...new Set([...counts, ...further.map(d => d.n)])];
  const law = k => kernel.kernel.ways[k];
  const curves = laws.map(one => one.curve.filter(([n]) => n <= most * 1.001).map(([n, s]) => ({ n, s, way: one.way })));
  return figure("Speedup by workers",
    `Dotted: N-fold; dashed: what the machine allows${laws.length ? `; thin: ${[...new Set(laws.map(one => one.name))].join(", ")}, as fitted` : ""}.`,
    told(kernel, points, p => String(p.speedup)),
    { width, height: 320, marginLeft: 44, x: workersAxis(ticks, most), y: { label: "speedup", grid: true, type: most > 8 ? "log" : "linear", base: 2, tickFormat: y => String(y), zero: most <= 8 }, marks: [
      Plot.lineY([1, most], { x: n => n, y: n => n, stroke: "var(--faint)", strokeDasharray: "2 3" }),
      ...ceilings(kernel, (n, c) => c),
      ...curves.map(curve => Plot.lineY(curve, { x: "n", y: "s", stroke: colour(law(curve[0].way)), strokeWidth: 0.8, strokeOpacity: 0.8 })),
      Plot.ruleX(further.filter(d => d.low !== null && d.high !== null), { x: "n", y1: "low", y2: "high", stroke: d => colour(law(d.law.way)), strokeOpacity: 0.5 }),
      ...lines(kernel, points, "speedup", "low", "high"),
      tips(points, { x: "workers", y: "speedup", title: p => `${label(kernel, p)}\n${p.of}` }),
    ] });
}

function efficiencies(kernel, width) {
  const points = kernel.visible().map(p => ({ ...p, efficiency: p.speedup / p.workers })), { counts } = kernel.kernel;
  if (!points.length || counts.at(-1) < 2) return null;
  return figure("Efficiency by workers", "Speedup a worker; dotted: N-fold; dashed: what the machine allows.",
    told(kernel, points, p => PERCENT(p.efficiency)),
    { width, height: 320, marginLeft: 52, x: workersAxis(counts, counts.at(-1)), y: { label: "efficiency", grid: true, zero: true, tickFormat: PERCENT }, marks: [
      Plot.ruleY([1], { stroke: "var(--faint)", strokeDasharray: "2 3" }),
      ...ceilings(kernel, (n, c) => c / n),
      ...lines(kernel, points, "efficiency", p => p.low / p.workers, p => p.high / p.workers),
      tips(points, { x: "workers", y: "efficiency", title: p => `${label(kernel, p)}\n${p.of}` }),
    ] });
}

function ledger(kernel, width) {
  const points = kernel.at().filter(p => p.shares);
  if (!points.length) return null;
  const names = Object.keys(data.entries), share = (p, name) => p.shares[names.indexOf(name)] ?? 0;
  const parts = points.flatMap(p => names.map(name => ({ p, name, x: share(p, name) })).filter(d => Math.abs(d.x) > 0.0005));
  const seen = names.filter(name => parts.some(d => d.name === name));
  const stacked = { x: "x", y: d => d.p.way, z: "name", order: names };
  return figure("Where the core-seconds went", "Whole is workers × time; left of 0: less CPU time than the serial run.",
    told(kernel, points, p => names.filter(n => Math.abs(share(p, n)) >= 0.01).map(n => `${data.entries[n]} ${PERCENT(share(p, n))}`).join(", ")),
    rows(kernel, points, { width, x: { label: "part of workers × time", tickFormat: PERCENT, grid: true, ticks: width < 460 ? 3 : 5 }, marks: [
      Plot.barX(parts, { ...stacked, fill: d => `var(--entry-${d.name})`, stroke: "var(--page)", strokeWidth: 0.5, insetTop: 3, insetBottom: 3, render: tipped.render,
        tip: TIP, title: d => `${label(kernel, d.p)}\n${data.entries[d.name]}: ${(d.x * 100).toFixed(1)} %` }),
      Plot.text(parts, Plot.stackX({ ...stacked, text: d => d.x >= 0.18 ? PERCENT(d.x) : "", fill: d => `var(--on-${d.name})`, pointerEvents: "none" })),
      Plot.ruleX([0], { stroke: "var(--faint)" }),
    ] }), false, seen.map(name => [`var(--entry-${name})`, data.entries[name]]));
}

function rounds(kernel, width) { // every sample by round: what drifts, and what was disturbed
  const points = kernel.kernel.points.filter(p => p.workers === kernel.workers || p.serial).filter(p => !kernel.hidden.has(p.way));
  const middle = p => {
    const sorted = [...p.times].sort((a, b) => a - b), n = sorted.length;
    return (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2;
  };
  const samples = points.flatMap(p => p.times.map((t, k) => ({ p, round: k + 1, y: t / middle(p), t })));
  if (!samples.some(d => d.round > 1)) return null;
  const disturbed = samples.filter(d => kernel.kernel.disturbed[kernel.way(d.p).line].includes(d.round));
  const last = Math.max(...samples.map(d => d.round)), far = Math.max(1.5, ...samples.map(d => d.y));
  return figure("Every round", `Time over its own median${disturbed.length ? "; on grey: a round that was disturbed from outside" : ""}.`,
    `${Math.max(...points.map(p => p.times.length))} rounds; the slowest took ${far.toFixed(2)} times its median.`,
    { width, height: 260, marginLeft: 44, x: { label: "round", ticks: Math.min(10, last), tickFormat: "d", inset: 6 },
      y: { label: "× median", grid: true, type: far > 3 ? "log" : "linear", tickFormat: y => String(y) }, marks: [
      Plot.dot(disturbed, { x: "round", y: "y", r: 8, fill: "var(--rule)" }),
      Plot.ruleY([1], { stroke: "var(--faint)" }),
      ...points.map(p => dots(samples.filter(d => d.p === p), kernel.way(p), { x: "round", y: "y", r: 3, strokeOpacity: 0.8, render: tipped.render })),
      tips(samples, { x: "round", y: "y", title: d => `${label(kernel, d.p)}\nround ${d.round}: ${(d.t * 1e3).toPrecision(4)} ms` }),
    ] });
}

function tree(kernel, width) {
  const p = kernel.deep;
  if (!p?.tree) return null;
  const factor = named(Object.keys(data.factors), p.tree), names = Object.keys(factor).filter(name => factor[name] !== null);
  const depth = { global: "", parallel: "└ ", computation: "└ ", load_balance: "   └ ", communication: "   └ " };
  const most = Math.max(1, ...names.map(name => factor[name]));
  return figure(`Efficiency tree: ${label(kernel, p)}`, "global = parallel × computation; parallel = load balance × communication. Under 80 % (line) deserves a look.",
    names.map(name => `${data.factors[name]} ${PERCENT(factor[name])}`).join(", "),
    { width, height: 40 + 26 * names.length, marginTop: 8, marginLeft: 130, x: { domain: [0, most * 1.12], tickFormat: PERCENT, label: null, ticks: width < 460 ? 3 : 5 },
      y: { domain: names, label: null, tickSize: 0, tickFormat: name => depth[name] + data.factors[name] }, marks: [
      Plot.axisY({ textAnchor: "start", dx: -112, tickSize: 0, tickFormat: name => (depth[name] + data.factors[name]).replaceAll(" ", "\u00a0"), label: null }),
      Plot.barX(names, { x: name => factor[name], y: name => name, fill: name => factor[name] < 0.8 ? "var(--entry-runqueue)" : "var(--entry-useful)", insetTop: 2, insetBottom: 2 }),
      Plot.text(names, { x: name => factor[name], y: name => name, text: name => PERCENT(factor[name]), dx: 4, textAnchor: "start" }),
      Plot.ruleX([0.8], { stroke: "var(--alarm)", strokeDasharray: "3 3" }),
    ] });
}

const named = (names, row) => Object.fromEntries(names.map((name, k) => [name, row[k]]));

function timeline(kernel, width) { // what each lane did when
  const p = kernel.deep, run = p?.run;
  if (!run?.slices.length) return null;
  const kinds = Object.keys(data.doing), end = run.seconds, scale = end < 2e-3 ? [1e6, "µs"] : end < 2 ? [1e3, "ms"] : [1, "s"];
  const chunk = (first, many) => first < 0 ? `${many} chunk${many === 1 ? "" : "s"}` : many === 1 ? `chunk ${first}` : `${many} chunks from ${first} on`;
  const parts = run.slices.map(([row, kind, a, b, what, many]) => ({
    row: run.rows[row], kind: kinds[kind], a: a * end * scale[0] / data.grid, b: b * end * scale[0] / data.grid,
    what: many === undefined ? what : chunk(what, many), faint: many !== undefined && what % 2 === 1, // neighbours are told apart
  }));
  const sum = kind => parts.filter(d => d.kind === kind).reduce((s, d) => s + d.b - d.a, 0);
  return figure(`Timeline of a median run: ${label(kernel, p)}`,
    run.recorded ? "A chunk a box. How much of it a lane was off the CPU is known, not when: computing is drawn first." : "This run's chunks were too many or too short to be recorded: each lane as a whole.",
    `${run.rows.length - run.rows.includes("caller")} lanes in ${(end * scale[0]).toPrecision(3)} ${scale[1]}: ${kinds.filter(sum).map(kind => `${data.doing[kind]} ${sum(kind).toPrecision(3)} ${scale[1]}`).join(", ")}`,
    { width, height: 50 + Math.max(9, Math.min(26, 700 / run.rows.length)) * run.rows.length, marginTop: 8, marginLeft: 62, x: { label: scale[1], domain: [0, end * scale[0]], grid: true },
      y: { domain: run.rows, label: null, tickSize: 0 }, marks: [
      Plot.barX(parts, { x1: "a", x2: "b", y: "row", fill: d => `var(--entry-${d.kind})`, fillOpacity: d => d.faint ? 0.75 : 1, insetTop: 1, insetBottom: 1,
        render: tipped.render, tip: TIP, title: d => `${d.row}: ${data.doing[d.kind]}\n${d.what}\n${(d.b - d.a).toPrecision(3)} ${scale[1]}` }),
    ] }, true, kinds.filter(sum).map(kind => [`var(--entry-${kind})`, data.doing[kind]]));
}
