// The console's own script: series with uPlot (histograms and images: `pictures.js`), calm live updates with htmx. No page needs it to be read or acted on.
"use strict";

const drawn = new Map();
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const pad = (n) => String(n).padStart(2, "0");
const clock = (s) => { const d = new Date(s * 1000); return `${pad(d.getUTCHours())}:${pad(d.getUTCMinutes())}`; };
const day = (s) => new Date(s * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

const prefixes = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];

function amount(value, unit) {
  if (value === null || value === undefined) return "–";
  if (/(^| )share$/.test(unit)) return `${Number((100 * value).toFixed(Math.abs(value) < 0.0995 ? 1 : 0))} %`;
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-2)) {
    const [by, prefix] = prefixes.find(([least]) => size >= least) || prefixes.at(-1);
    const base = prefix && /^(B|s|Hz|W|V)(\/s)?$/.test(unit) ? unit : "";
    return `${Number((value / by).toPrecision(3))}\u202f${prefix}${base}`;
  }
  return size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

function drawSeries(box, series) {
  const readout = box.closest("figure").querySelector(".readout");
  const hasBand = series.low !== null;
  const axis = { stroke: color("--muted"), grid: { stroke: color("--grid"), width: 1 }, ticks: { show: false }, font: `11px ${color("--sans")}` };
  const times = (u, splits) => splits.map((s, i) => (i === 0 || day(s) !== day(splits[i - 1]) ? `${clock(s)}\n${day(s)}` : clock(s)));
  const there = [...series.values.filter((v) => v !== null), ...(series.low || []), ...(series.high || [])];
  const highest = Math.max(...there), lowest = Math.min(...there);
  // zero belongs in the picture unless all is far from it
  const far = lowest > highest / 2, most = Math.max(highest, 0), least = far ? lowest - 0.06 * (highest - lowest) : Math.min(lowest, 0);
  const line = { stroke: color("--accent"), width: 2, points: { show: true, size: 5, fill: color("--accent") } };
  // a band may be thinner than a pixel: a forecast just before its limit
  const edge = { stroke: color("--band"), width: 1, points: { show: false } };
  const options = {
    width: box.clientWidth, height: box.clientHeight, legend: { show: false }, padding: [8, 16, 0, 0],
    tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "Etc/UTC"),
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 8 } },
    scales: { x: { time: true, range: (u, from, to) => [from, Math.max(to, series.marked ? series.marked[1] : to)] }, y: { range: [least, most === least ? least + 1 : most + 0.06 * (most - least)] } },
    axes: [{ ...axis, values: times, size: 42, space: 64, gap: 9 }, { ...axis, values: (u, s) => s.map((v) => amount(v, series.unit)), size: 52 }],
    series: hasBand ? [{}, edge, edge, line] : [{}, line],
    bands: hasBand ? [{ series: [2, 1], fill: color("--band") }] : [],
    hooks: {
      drawClear: [(u) => {
        if (!series.marked) return;
        const [from, to] = series.marked.map((s) => Math.min(Math.max(u.valToPos(s, "x", true), u.bbox.left), u.bbox.left + u.bbox.width));
        u.ctx.fillStyle = color("--span");
        u.ctx.fillRect(from, u.bbox.top, Math.max(to - from, 2), u.bbox.height);
      }],
      setCursor: [(u) => {
        const i = u.cursor.left >= 0 ? u.cursor.idx : null;
        if (i === null || i === undefined) { readout.textContent = ""; return; }
        const usual = hasBand ? `, expected ${amount(series.low[i], series.unit)} to ${amount(series.high[i], series.unit)}` : "";
        readout.textContent = `${clock(series.times[i])} UTC: ${amount(series.values[i], series.unit)}${usual}`;
      }],
    },
  };
  const data = hasBand ? [series.times, series.low, series.high, series.values] : [series.times, series.values];
  const chart = new uPlot(options, data, box);
  return { destroy: () => chart.destroy(), resize: () => chart.setSize({ width: box.clientWidth, height: box.clientHeight }) };
}

// who draws a `data-draw`; each gives back how to resize and how to remove what it drew
const drawers = { series: drawSeries, histogram: drawHistogram, image: drawImage };

function draw(box) {
  drawn.set(box, { ...drawers[box.dataset.draw](box, JSON.parse(box.dataset.chart)), size: `${box.clientWidth} ${box.clientHeight}` });
  resized.observe(box);
}

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const chart = drawn.get(target), size = `${target.clientWidth} ${target.clientHeight}`;
    if (chart && chart.size !== size) { chart.size = size; chart.resize(); }
  }
});

function drawAll() {
  for (const [box, chart] of drawn) if (!box.isConnected) { chart.destroy(); resized.unobserve(box); drawn.delete(box); }
  for (const box of document.querySelectorAll("[data-draw]")) if (!drawn.has(box)) draw(box);
  const lead = document.querySelector("[data-open]");
  if (lead) document.title = `${Number(lead.dataset.open) ? `(${lead.dataset.open}) ` : ""}Incidents · opintel`;
}

function redraw() {
  for (const [box, chart] of drawn) { chart.destroy(); drawn.delete(box); }
  drawAll();
}

// A page that renews itself must not take away what someone is reading, writing or choosing.
function busy() {
  if (document.querySelector("main .pop[open]")) return true;
  if (document.activeElement && document.activeElement.closest("main input, main select, main textarea, main .picture")) return true;
  const selection = document.getSelection();
  return Boolean(selection && !selection.isCollapsed && document.querySelector("main").contains(selection.anchorNode));
}

function connected(well) {
  const link = document.getElementById("link");
  if (!link) return;
  link.classList.toggle("lost", !well);
  link.querySelector(".text").textContent = well ? "connected" : "connection lost, trying again";
}

const unfolded = new Map();
document.addEventListener("toggle", (event) => { if (event.target.matches("details.keep")) unfolded.set(event.target.id, event.target.open); }, true);
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.requestConfig.verb === "get" && busy()) event.detail.shouldSwap = false;
});
document.addEventListener("htmx:afterSettle", () => {
  for (const [id, open] of unfolded) { const there = document.getElementById(id); if (there) there.open = open; }
  drawAll();
});
document.addEventListener("htmx:afterRequest", (event) => connected(event.detail.xhr.status !== 0 && event.detail.xhr.status < 500));

// Pop-ups: one at a time, closed by a click beside them or Escape.
document.addEventListener("click", (event) => {
  for (const pop of document.querySelectorAll(".pop[open]")) if (!pop.contains(event.target)) pop.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const pop of document.querySelectorAll(".pop[open]")) { pop.open = false; pop.querySelector("summary").focus(); }
});

// A text to be pasted elsewhere.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy);
  document.getSelection().selectAllChildren(text);
  // a browser may have no clipboard for a page without TLS, or ask and be refused
  try { await navigator.clipboard.writeText(text.textContent); button.textContent = "Copied"; } catch { button.textContent = "Selected"; }
});

// What a cell of a heat map says, for fingers and keys as well as for mice.
for (const kind of ["pointerover", "click", "focusin"]) document.addEventListener(kind, (event) => {
  const cell = event.target.closest(".heat tbody td");
  if (cell) cell.closest("figure").querySelector(".readout").textContent = cell.title;
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
drawAll();
