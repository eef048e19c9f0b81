// What a reader of the page chooses, and when it is drawn.
// What is seen of a kernel: which ways are shown, at how many workers, which way in depth, whether laws go on.
class Kernel {
  constructor(kernel, place) {
    Object.assign(this, { kernel, place, hidden: new Set(), workers: kernel.counts.at(-1), further: false });
    this.points = kernel.points.filter(p => p.speedup !== undefined && !p.serial);
    this.shown = [...new Set(this.points.map(p => p.way))];
    this.deep = this.depths().at(0);
    this.plots = element("div", { className: "plots" });
    place.append(this.controls(), this.plots);
  }

  depths() { // points that a picture in depth can show: a run, or the efficiency tree, at the most workers
    return this.kernel.points.filter(p => !p.serial && (p.run || (p.tree && p.workers === this.kernel.counts.at(-1))));
  }

  way(p) { return this.kernel.ways[p.way]; }

  visible() { return this.points.filter(p => !this.hidden.has(p.way)); }

  at() { // the points at the chosen number of workers, or the nearest below
    const best = new Map();
    for (const p of this.visible()) {
      const former = best.get(p.way);
      const fits = p.workers <= this.workers;
      if (!former || (fits && p.workers > former.workers) || (fits && former.workers > this.workers)) best.set(p.way, p);
    }
    return [...best.values()];
  }

  controls() {
    const { kernel } = this;
    const ways = element("fieldset", {}, element("legend", {}, "Show"), ...this.shown.map(k =>
      element("label", {}, element("input", { type: "checkbox", checked: true, onchange: event => {
        event.target.checked ? this.hidden.delete(k) : this.hidden.add(k);
        this.draw();
      } }), mark(kernel.ways[k]), kernel.ways[k].name)));
    const made = [ways];
    if (kernel.counts.length > 1) made.push(element("label", {}, "Workers", element("select", { onchange: event => {
      this.workers = Number(event.target.value);
      this.draw();
    } }, ...kernel.counts.map(n => element("option", { value: n, selected: n === this.workers }, String(n))))));
    if (kernel.laws.some(law => law.further.length)) made.push(element("label", {}, element("input", {
      type: "checkbox", onchange: event => { this.further = event.target.checked; this.draw(); },
    }), "Project to more workers"));
    const depths = this.depths();
    if (depths.length > 1) made.push(element("label", {}, "In depth", element("select", { onchange: event => {
      this.deep = depths[event.target.value];
      this.draw();
    } }, ...depths.map((p, k) => element("option", { value: k }, `${this.way(p).name}, ${p.workers}`)))));
    return element("div", { className: "controls" }, ...made);
  }

  draw() {
    const width = Math.max(280, this.plots.clientWidth || 600);
    const narrow = width < 28 * 16 * 2 + 26;
    const half = narrow ? width : (width - 26) / 2;
    const made = [compared, speedups, efficiencies, ledger, rounds, tree, timeline].map(figure => figure(this, figure === timeline ? width : half));
    this.plots.replaceChildren(...made.filter(Boolean));
    this.width = width;
  }
}

function theme() {
  const button = document.getElementById("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
  const now = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  const tell = () => { button.textContent = now() === "dark" ? "Light page" : "Dark page"; };
  button.hidden = false;
  button.addEventListener("click", () => { document.documentElement.dataset.theme = now() === "dark" ? "light" : "dark"; tell(); });
  dark.addEventListener("change", tell);
  tell();
}

// What the row of each point says, read before any table is sorted.
const kernels = [...document.querySelectorAll(".figures")].map(place => {
  const table = place.nextElementSibling.querySelector("table"), heads = [...table.tHead.rows[0].cells].map(one => one.textContent);
  const said = [...table.tBodies[0].rows].map(row => [...row.cells]
    .map((one, n) => n >= KEYS && one.textContent && `${heads[n]}: ${one.textContent}`).filter(Boolean).join("\n"));
  return { place, said, kernel: null };
});
theme();
document.querySelectorAll("table.sheet").forEach(sortable);
if (typeof DecompressionStream === "undefined") {
  document.getElementById("old").hidden = false;
  return;
}

async function unpacked(name) {
  const packed = Uint8Array.from(atob(document.getElementById(name).textContent), letter => letter.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
document.head.append(element("script", { textContent: await unpacked("library") }));
data = JSON.parse(await unpacked("data"));

// One kernel after the other, so that the page answers meanwhile; all of them before they are printed.
function begin(one) {
  if (one.kernel) return;
  const kernel = data.kernels[one.place.dataset.kernel];
  kernel.points.forEach((p, k) => { p.of = one.said[k]; });
  one.kernel = new Kernel(kernel, one.place);
  one.kernel.draw();
}
function next() {
  const one = kernels.find(other => !other.kernel);
  if (!one) return;
  begin(one);
  setTimeout(next);
}
const resized = new ResizeObserver(seen => {
  for (const { target } of seen) {
    const { kernel } = kernels.find(other => other.place === target);
    // Later: what is drawn while sizes are told of would change them again.
    if (kernel && Math.abs(kernel.plots.clientWidth - kernel.width) > 1) setTimeout(() => kernel.draw());
  }
});
next();
for (const { place } of kernels) resized.observe(place);
addEventListener("beforeprint", () => {
  kernels.forEach(begin);
  for (const details of document.querySelectorAll("details")) details.open = true;
});
