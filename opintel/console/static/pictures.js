// Histograms and images on a canvas: axes, colours, and a read-out by pointer or arrow keys. `console.js` calls it.
"use strict";

// viridis: N. Smith and S. van der Walt, matplotlib 1.5, every 32nd colour. coolwarm: K. Moreland, "Diverging Color Maps for
// Scientific Visualization" (2009), every fourth of the published 33; its ends are equally far from its middle in Msh space.
const VIRIDIS = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37]];
const COOLWARM = [[59, 76, 192], [98, 130, 234], [141, 176, 254], [184, 208, 249], [221, 221, 221], [245, 196, 173], [244, 154, 123], [222, 96, 77], [180, 4, 38]];

// a colour between the anchors, `part` from 0 to 1
function shade(anchors, part) {
  const place = Math.min(Math.max(part, 0), 1) * (anchors.length - 1), k = Math.min(Math.floor(place), anchors.length - 2);
  return anchors[k].map((from, i) => Math.round(from + (anchors[k + 1][i] - from) * (place - k)));
}

const named = (axis) => (axis.unit ? `${axis.title} (${axis.unit})` : axis.title);
const between = (axis, part) => (axis.log ? axis.low * (axis.high / axis.low) ** part : axis.low + (axis.high - axis.low) * part);
const partOf = (axis, value) => (axis.log ? Math.log(value / axis.low) / Math.log(axis.high / axis.low) : (value - axis.low) / (axis.high - axis.low));

function stated(value, unit) {
  const text = amount(value, unit).replace("-", "\u2212");
  return value === null || !unit || /(^| )share$/.test(unit) || text.endsWith(unit) ? text : `${text}\u202f${unit}`;
}

// round values of an axis, at most about `most`, each with its text
function ticks(axis, most) {
  const { low, high } = axis, values = [];
  let step = 0;
  if (axis.log && high / low >= 10) {
    const decades = Math.log10(high / low), every = Math.max(1, Math.ceil(decades / most));
    const within = [[1, 2, 5], [1, 3]].find((digits) => digits.length * decades <= most + 1) || [1];
    for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k += every) values.push(...within.map((n) => n * 10 ** k));
  } else {
    const least = (high - low) / Math.max(most, 1), power = 10 ** Math.floor(Math.log10(least));
    step = power * [1, 2, 5, 10].find((n) => n * power >= least * 0.999);
    for (let k = Math.ceil(low / step - 1e-6); k * step <= high + step * 1e-6; k++) values.push(k * step);
  }
  const digits = step ? Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) : 0;
  const text = (v) => (step && Math.abs(v) > 900 * step ? Number(v.toFixed(digits)).toLocaleString("en", { maximumFractionDigits: digits }) : amount(Math.abs(v) < step / 1e3 ? 0 : v, axis.unit));
  return values.filter((v) => v >= low - step * 1e-6 && v <= high * (axis.log ? 1.000001 : 1) + step * 1e-6).map((v) => [v, text(v).replace("-", "\u2212")]);
}

function write(ctx, text, x, y, { align = "left", base = "alphabetic", ink = "--muted", turn = 0, most = Infinity } = {}) {
  while (text.length > 1 && ctx.measureText(text).width > most) text = `${text.replace(/…$/, "").slice(0, -1)}…`;
  ctx.save();
  ctx.translate(x, y);
  ctx.rotate(turn);
  Object.assign(ctx, { textAlign: align, textBaseline: base, fillStyle: color(ink) });
  ctx.fillText(text, 0, 0);
  ctx.restore();
}

function rule(ctx, x0, y0, x1, y1, ink) {
  ctx.strokeStyle = ink;
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
  ctx.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
  ctx.stroke();
}

// where there is no value
function hatched(ctx, { left, top, width, height }) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  Object.assign(ctx, { strokeStyle: color("--hatch"), lineWidth: 1.5 });
  ctx.beginPath();
  for (let k = -height; k < width; k += 6) {
    ctx.moveTo(left + k, top + height);
    ctx.lineTo(left + k + height, top);
  }
  ctx.stroke();
  ctx.restore();
}

// the axis below a plot, and the one at its left
function across(ctx, axis, plot, grid) {
  for (const [v, text] of ticks(axis, Math.max(2, Math.floor(plot.width / 64)))) {
    const x = plot.left + plot.width * partOf(axis, v);
    if (grid) rule(ctx, x, plot.top, x, plot.top + plot.height, color("--grid"));
    rule(ctx, x, plot.top + plot.height, x, plot.top + plot.height + 4, color("--line-strong"));
    write(ctx, text, x, plot.top + plot.height + 8, { align: "center", base: "top" });
  }
}

function upward(ctx, axis, plot, grid) {
  for (const [v, text] of ticks(axis, Math.max(2, Math.floor(plot.height / 44)))) {
    const y = plot.top + plot.height * (1 - partOf(axis, v));
    if (grid) rule(ctx, plot.left, y, plot.left + plot.width, y, color("--grid"));
    write(ctx, text, plot.left - 7, y, { align: "right", base: "middle" });
  }
}

// A canvas that fills its box. `view`: paint(ctx, width, height, at), find(x, y), step(at, right, up), words(at).
function stage(box, view) {
  const canvas = box.appendChild(document.createElement("canvas")), ctx = canvas.getContext("2d");
  const readout = box.closest("figure").querySelector(".readout"), watching = new AbortController();
  let at = null;
  function paint() {
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(box.clientWidth * ratio);
    canvas.height = Math.round(box.clientHeight * ratio);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.font = `11px ${color("--sans")}`;
    view.paint(ctx, box.clientWidth, box.clientHeight, at);
  }
  function look(place) {
    if (String(place) === String(at)) return;
    at = place;
    readout.textContent = at === null ? "" : view.words(at);
    paint();
  }
  const on = (kind, does) => box.addEventListener(kind, does, { signal: watching.signal });
  for (const kind of ["pointermove", "pointerdown"]) on(kind, (event) => {
    const there = canvas.getBoundingClientRect();
    look(view.find(event.clientX - there.left, event.clientY - there.top));
  });
  on("pointerleave", (event) => { if (event.pointerType === "mouse") look(null); });
  on("blur", () => look(null));
  on("keydown", (event) => {
    const [right, up] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] || [0, 0];
    if (!right && !up) return;
    event.preventDefault();
    look(view.step(at, right, up));
  });
  paint();
  return { resize: paint, destroy: () => { watching.abort(); canvas.remove(); } };
}

function drawHistogram(box, data) {
  const n = data.observed.length, apart = data.categories !== null;
  const axis = { title: data.axis, unit: data.unit, log: data.log, low: apart ? 0 : data.edges[0], high: apart ? n : data.edges[n] };
  const seen = [...data.observed, ...(data.expected || []), ...(data.high || []), ...(data.low || [])].filter((v) => v !== null);
  const most = Math.max(0, ...seen), least = Math.min(0, ...seen), room = 0.08 * (most - least || 1);
  const value = { title: data.counted, unit: data.counted, log: false, low: least && least - room, high: most + room };
  const reach = data.pulls && Math.max(3, ...data.pulls.map((v) => Math.abs(v ?? 0)));
  let plot = { left: 0, top: 0, width: 1, height: 1 }, below = null;
  const x = (k) => plot.left + plot.width * (apart ? k / n : partOf(axis, data.edges[k]));
  const y = (v) => plot.top + plot.height * (1 - partOf(value, v));

  // the outline of `values` from bin to bin; bars of categories stand apart
  function outline(ctx, values, first = 0, last = n - 1) {
    const inset = apart ? 0.14 * (x(1) - x(0)) : 0;
    for (let k = first, open = false; k <= last; k++) {
      if (values[k] === null) { open = false; continue; }
      const way = open && !inset ? "lineTo" : "moveTo";
      ctx[way](x(k) + inset, y(values[k]));
      ctx.lineTo(x(k + 1) - inset, y(values[k]));
      open = true;
    }
  }
  function bars(ctx, low, high, ink, first = 0, last = n - 1) {
    const inset = apart ? 0.14 * (x(1) - x(0)) : 0;
    ctx.fillStyle = ink;
    ctx.beginPath();
    for (let k = first; k <= last; k++) {
      if (high[k] === null) continue;
      // overlapping rectangles of one path leave no seams
      ctx.rect(x(k) + inset, y(high[k]), x(k + 1) - x(k) - 2 * inset + (inset ? 0 : 0.5), y(low[k]) - y(high[k]));
    }
    ctx.fill();
  }
  function line(ctx, values, ink, width, dash, first, last) {
    Object.assign(ctx, { strokeStyle: ink, lineWidth: width, lineJoin: "round" });
    ctx.setLineDash(dash);
    ctx.beginPath();
    outline(ctx, values, first, last);
    ctx.stroke();
    ctx.setLineDash([]);
  }
  function pulls(ctx) {
    const scale = { unit: "σ", log: false, low: -reach * 1.1, high: reach * 1.1 }, middle = below.top + below.height / 2;
    for (const v of [-reach, 0, reach]) {
      const at = middle - below.height / 2 * v / scale.high;
      rule(ctx, below.left, at, below.left + below.width, at, color(v ? "--grid" : "--line-strong"));
      write(ctx, stated(v ? Number(v.toPrecision(2)) : 0, "σ"), below.left - 7, at, { align: "right", base: "middle" });
    }
    data.pulls.forEach((v, k) => {
      if (v === null) return;
      ctx.fillStyle = `rgb(${shade(COOLWARM, v < 0 ? 0.25 - 0.25 * Math.min(1, -v / 5) : 0.75 + 0.25 * Math.min(1, v / 5))})`;
      const wide = x(k + 1) - x(k), gap = wide > 5 ? 1 : 0;
      ctx.fillRect(x(k) + gap, middle, Math.max(wide - 2 * gap, 1), -below.height / 2 * v / scale.high);
    });
  }
  function categories(ctx, foot) {
    const wide = plot.width / n, fits = Math.max(...data.categories.map((text) => ctx.measureText(text).width)) < wide - 8;
    const every = Math.ceil(13 / wide);
    data.categories.forEach((text, k) => {
      if (fits) write(ctx, text, (x(k) + x(k + 1)) / 2, foot + 8, { align: "center", base: "top" });
      else if (k % every === 0) write(ctx, text, (x(k) + x(k + 1)) / 2 + 2, foot + 7, { align: "right", base: "middle", turn: -0.7, most: 76 });
    });
  }
  return stage(box, {
    paint(ctx, width, height, at) {
      const foot = apart ? 76 : 40, under = data.pulls ? 66 : 0;
      plot = { left: 54, top: 18, width: width - 68, height: height - 18 - foot - under };
      below = data.pulls ? { ...plot, top: plot.top + plot.height + 12, height: under - 12 } : null;
      const base = plot.top + plot.height + under;
      ctx.clearRect(0, 0, width, height);
      upward(ctx, value, plot, true);
      if (!apart) across(ctx, axis, { ...plot, height: plot.height + under }, false);
      else categories(ctx, base);
      write(ctx, named(axis), plot.left + plot.width, height - 3, { align: "right", most: plot.width });
      let free = 0;
      for (const { first, last, kind } of data.regions) {
        const from = x(first), to = Math.max(x(last + 1), from + 2);
        ctx.fillStyle = color("--span");
        ctx.fillRect(from, plot.top, to - from, base - plot.top);
        const start = Math.min(from, plot.left + plot.width - ctx.measureText(kind).width);
        if (start < free) continue;
        write(ctx, kind, start, plot.top - 6, { ink: "--critical" });
        free = start + ctx.measureText(kind).width + 8;
      }
      if (at !== null) {
        ctx.fillStyle = color("--edge");
        ctx.fillRect(x(at), plot.top, Math.max(x(at + 1) - x(at), 1), base - plot.top);
      }
      const zero = new Array(n).fill(0);
      data.observed.forEach((v, k) => { if (v === null) hatched(ctx, { ...plot, left: x(k), width: x(k + 1) - x(k) }); });
      if (data.low) bars(ctx, data.low, data.high, color("--band"));
      if (apart || !data.expected) bars(ctx, zero, data.observed, color("--band"));
      if (data.expected) line(ctx, data.expected, color("--muted"), 1.25, [4, 3]);
      line(ctx, data.observed, color("--accent"), 1.75, []);
      for (const { first, last } of data.regions) line(ctx, data.observed, color("--critical"), 2.25, [], first, last);
      rule(ctx, plot.left, y(0), plot.left + plot.width, y(0), color("--line-strong"));
      if (below) pulls(ctx);
    },
    find(px) {
      for (let low = 0, high = n; low < high;) {
        const k = (low + high) >> 1;
        if (px < x(k)) high = k; else if (px >= x(k + 1)) low = k + 1; else return k;
      }
      return null;
    },
    step: (at, right, up) => Math.min(n - 1, Math.max(0, at === null ? 0 : at + (right || up))),
    words(at) {
      const bin = apart ? data.categories[at] : `${amount(data.edges[at], data.unit)} to ${stated(data.edges[at + 1], data.unit)}`;
      const parts = [data.observed[at] === null ? "no value" : stated(data.observed[at], data.counted)];
      const band = data.low ? ` (${amount(data.low[at])} to ${amount(data.high[at])})` : "";
      if (data.expected && data.expected[at] !== null) parts.push(`expected ${amount(data.expected[at])}${band}`);
      if (data.pulls && data.pulls[at] !== null) parts.push(`pull ${stated(data.pulls[at], "σ")}`);
      parts.push(...data.regions.filter(({ first, last }) => first <= at && at <= last).map(({ kind }) => kind));
      return `${bin}: ${parts.join(", ")}`;
    },
  });
}

function drawImage(box, data) {
  const { x, y, scale, rows, columns, marks } = data, anchors = data.diverging ? COOLWARM : VIRIDIS;
  const levels = Uint8Array.from(atob(data.pixels), (c) => c.charCodeAt(0));
  const sheet = (width, height, level) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height }), pixels = new ImageData(width, height);
    for (let k = 0; k < width * height; k++) {
      const value = level(k);
      if (value) pixels.data.set([...shade(anchors, (value - 1) / 254), 255], 4 * k);
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  };
  // the first row lies at the foot
  const cells = sheet(columns, rows, (k) => levels[(rows - 1 - Math.floor(k / columns)) * columns + k % columns]);
  const ramp = sheet(1, 255, (k) => 255 - k);
  let plot = { left: 0, top: 0, width: 1, height: 1 };
  const at2 = (px, py) => [plot.left + plot.width * partOf(x, px), plot.top + plot.height * (1 - partOf(y, py))];
  const corner = ([row, column]) => [plot.left + plot.width * column / columns, plot.top + plot.height * (rows - 1 - row) / rows];

  // seen on every colour: a light line on a dark one
  function ringed(ctx, path, width = 1.5) {
    for (const [ink, line] of [["#000a", width + 2], ["#fff", width]]) {
      Object.assign(ctx, { strokeStyle: ink, lineWidth: line });
      ctx.beginPath();
      path();
      ctx.stroke();
    }
  }
  function marked(ctx, { label, x: px, y: py, corner: other }, labelled) {
    const [left, foot] = at2(px, py), [right, top] = other ? at2(...other) : [left, foot];
    const box = [Math.min(left, right), Math.min(top, foot), Math.max(Math.abs(right - left), 3), Math.max(Math.abs(foot - top), 3)];
    ringed(ctx, () => (other ? ctx.rect(...box) : ctx.arc(left, foot, 6, 0, 2 * Math.PI)));
    if (!labelled) return;
    const wide = Math.min(ctx.measureText(label).width, 140), gap = other ? 5 : 10, beyond = box[0] + (other ? box[2] : 0) + gap;
    const start = beyond + wide + 4 > plot.left + plot.width ? Math.max(box[0] - gap - wide, plot.left + 2) : beyond;
    const line = Math.min(Math.max(other ? box[1] + 6 : foot, plot.top + 8), plot.top + plot.height - 8);
    ctx.fillStyle = "#000a";
    ctx.beginPath();
    ctx.roundRect(start - 4, line - 8, wide + 8, 16, 3);
    ctx.fill();
    write(ctx, label, start, line, { base: "middle", ink: "--on-accent", most: 140 });
  }
  return stage(box, {
    paint(ctx, width, height, at) {
      plot = { left: 50, top: 24, width: width - 50 - 68, height: height - 64 };
      const end = plot.left + plot.width, bar = { ...plot, left: end + 12, width: 12 };
      ctx.clearRect(0, 0, width, height);
      ctx.save();
      ctx.beginPath();
      ctx.rect(plot.left, plot.top, plot.width, plot.height);
      ctx.clip();
      hatched(ctx, plot);
      ctx.imageSmoothingEnabled = plot.width * (devicePixelRatio || 1) < columns;
      ctx.drawImage(cells, plot.left, plot.top, plot.width, plot.height);
      marks.forEach((mark, k) => marked(ctx, mark, k < 12));
      if (at !== null) ringed(ctx, () => ctx.rect(...corner(at), plot.width / columns, plot.height / rows));
      ctx.restore();
      ctx.imageSmoothingEnabled = false;
      ctx.drawImage(ramp, bar.left, bar.top, bar.width, bar.height);
      across(ctx, x, plot, false);
      upward(ctx, y, plot, false);
      for (const [v, text] of ticks(scale, Math.floor(plot.height / 44))) {
        write(ctx, text, bar.left + bar.width + 5, bar.top + bar.height * (1 - partOf(scale, v)), { base: "middle" });
      }
      write(ctx, named(scale), width, 12, { align: "right", most: width / 2 - 6 });
      write(ctx, named(y), 0, 12, { most: width / 2 - 6 });
      write(ctx, named(x), end, height - 3, { align: "right", most: plot.width });
    },
    find(px, py) {
      const column = Math.floor(columns * (px - plot.left) / plot.width), row = rows - 1 - Math.floor(rows * (py - plot.top) / plot.height);
      return column >= 0 && column < columns && row >= 0 && row < rows ? [row, column] : null;
    },
    step(at, right, up) {
      const [row, column] = at || [(rows - 1) >> 1, (columns - 1) >> 1];
      return [Math.min(rows - 1, Math.max(0, row + up)), Math.min(columns - 1, Math.max(0, column + right))];
    },
    words([row, column]) {
      const level = levels[row * columns + column], [left, top] = corner([row, column]);
      // the ends of a scale stand for what lies beyond them too
      const value = level ? ({ 1: "≤ ", 255: "≥ " }[level] || "") + stated(between(scale, (level - 1) / 254), scale.unit) : "no value";
      const near = marks.filter(({ x: px, y: py, corner: other }) => {
        const [a, b] = at2(px, py), [c, d] = other ? at2(...other) : [a, b], slack = other ? 0 : 6;
        const [mx, my] = [left + plot.width / columns / 2, top + plot.height / rows / 2];
        return mx >= Math.min(a, c) - slack && mx <= Math.max(a, c) + slack && my >= Math.min(b, d) - slack && my <= Math.max(b, d) + slack;
      });
      const place = [[x, (column + 0.5) / columns], [y, (row + 0.5) / rows]].map(([axis, part]) => `${axis.title} ${stated(between(axis, part), axis.unit)}`);
      return [`${place.join(", ")}: ${value}`, ...near.map(({ label }) => label)].join(", ");
    },
  });
}
