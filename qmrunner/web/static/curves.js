// Convergence by iteration, with its thresholds: drawn by uPlot where it is installed, as a table everywhere.
import { $, prefix } from "./app.js";

let asked = 0;
let busy = false;
let library = null;
let points = [];
let attempt = null;
let last = 0;
const MOST_POINTS = 4000;
const drawn = new Map();
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]; // iterations between two marks

function load(url, style) { // only where a curve is drawn
  library ??= new Promise((resolve, reject) => {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = style;
    document.head.append(sheet);
    const script = document.createElement("script");
    script.src = url;
    script.addEventListener("load", () => resolve(window.uPlot));
    script.addEventListener("error", reject);
    document.head.append(script);
  });
  return library;
}
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function ink(name) { // a colour that canvas understands: custom properties keep light-dark() unresolved
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found || colour(name);
}

// Series that a trace may have: [key, label, unit, logarithmic]
const SERIES = [["energy_hartree", "energy", "hartree", false], ["gradient", "gradient", "hartree/bohr", true], ["residual", "residual", "", true]];

// Another step or attempt is shown: its curves begin.
export function forget() {
  for (const figure of drawn.values()) figure.plot?.destroy();
  drawn.clear();
  points = [];
  attempt = null;
  last = 0;
  asked = 0;
}

export async function curves(number) {
  const place = $("#curves");
  if (!place || busy || Date.now() - asked < 2900) return;
  busy = true;
  asked = Date.now();
  try {
    const where = `${prefix}/v1/jobs/${place.dataset.job}/steps/${encodeURIComponent(place.dataset.step)}/trace`;
    if (number !== attempt) { attempt = number; points = []; last = 0; }
    const answer = await fetch(`${where}?after=${last}${number ? `&attempt=${number}` : ""}`);
    if (!answer.ok) return;
    const found = await answer.json();
    if (place !== $("#curves")) return; // another step is shown meanwhile
    if (found.points.length || !points.length) await show(place, found);
  } catch { /* no trace here: the log has the numbers */ } finally { busy = false; }
}

async function show(place, found) {
  const names = found.columns ?? [];
  points.push(...found.points.map((row) => Object.fromEntries(names.map((name, index) => [name, row[index]]))));
  if (points.length > MOST_POINTS) points = points.filter((_, index) => index % 2 === 0 || index > MOST_POINTS - 100);
  last = found.last;
  const box = $(".curves", place);
  for (const [key, label, unit, log] of SERIES) {
    const rows = points.filter((row) => typeof row[key] === "number" && (!log || row[key] > 0));
    if (rows.length < 2) continue;
    place.hidden = false;
    let figure = drawn.get(key);
    if (!figure) {
      figure = make();
      drawn.set(key, figure);
      box.append(figure.element);
    }
    const limit = (found.thresholds ?? {})[key];
    figure.caption.textContent = `${unit ? `${label}, ${unit}` : label}${limit ? `; threshold ${limit.toExponential(1)}${place.dataset.uplot ? ", dashed" : ""}` : ""}`;
    table(figure, rows, key, unit);
    if (place.dataset.uplot) await draw(figure, place, rows, key, log, limit);
  }
}
function make() {
  const element = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const chart = document.createElement("div");
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const rows = document.createElement("table");
  element.className = "plain-figure";
  chart.className = "curve";
  chart.setAttribute("aria-hidden", "true");
  summary.textContent = "as a table";
  details.append(summary, rows);
  element.append(caption, chart, details);
  return { element, chart, rows, caption, plot: null, threshold: false };
}
function table(figure, rows, key, unit) {
  const body = document.createElement("tbody");
  const head = body.insertRow();
  for (const text of ["point", "phase", unit || key]) { const cell = document.createElement("th"); cell.textContent = text; cell.scope = "col"; head.append(cell); }
  rows.slice(-50).forEach((row) => {
    const line = body.insertRow();
    line.insertCell().textContent = row.iteration ?? "";
    line.insertCell().textContent = row.phase ?? "";
    line.insertCell().textContent = key === "energy_hartree" ? row[key].toFixed(6) : row[key].toExponential(2);
  });
  figure.rows.replaceChildren(body);
}
async function draw(figure, place, rows, key, log, threshold) {
  const uPlot = await load(place.dataset.uplot, place.dataset.uplotCss);
  const data = [rows.map((_, index) => index + 1), rows.map((row) => row[key])];
  if (threshold) data.push(rows.map(() => threshold));
  if (figure.plot && figure.threshold === Boolean(threshold)) { figure.plot.setData(data); return; }
  figure.plot?.destroy(); // with or without a line for the threshold
  figure.threshold = Boolean(threshold);
  const axis = { stroke: ink("--fg"), grid: { stroke: ink("--line"), width: 1 }, ticks: { stroke: ink("--line"), width: 1 } };
  figure.plot = new uPlot({
    width: Math.max(260, figure.chart.clientWidth || 420), height: 200, legend: { show: false }, cursor: { drag: { x: true, y: false } },
    scales: { x: { time: false }, y: log ? { distr: 3 } : {} },
    axes: [{ ...axis, incrs: WHOLE }, { ...axis, size: 86, ...(log ? { values: (_, all) => all.map((value) => (value === null ? "" : value.toExponential(0))) } : {}) }],
    series: [{}, { stroke: ink("--running"), width: 1.5, points: { show: rows.length < 40, size: 4 } }, ...(threshold ? [{ stroke: ink("--failed"), width: 1, dash: [5, 4], points: { show: false } }] : [])],
  }, data, figure.chart);
}
new ResizeObserver(() => {
  for (const figure of drawn.values()) if (figure.plot && figure.chart.clientWidth) figure.plot.setSize({ width: figure.chart.clientWidth, height: 200 });
}).observe(document.documentElement);
