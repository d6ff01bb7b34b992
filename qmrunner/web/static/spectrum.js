// Zoom of the spectra, which the server has drawn: places are computed again from the ppm that elements carry.
import { $, $$ } from "./app.js";

const LEFT = 10, RIGHT = 890, TOP = 66, AXIS = 210, BELOW = 262, POINTS = 1200;
const SVG = "http://www.w3.org/2000/svg";

function ticksOf(low, high) {
  const least = (high - low) / 9, power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= least * (1 - 1e-9));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) found.push([n * step, (n * step).toFixed(digits)]);
  return found;
}

function make(name, attributes, parent, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

class Spectrum {
  constructor(svg, tools) {
    this.svg = svg;
    this.low = this.lowest = Number(svg.dataset.low);
    this.high = this.highest = Number(svg.dataset.high);
    this.line = Number(svg.dataset.line);
    this.width = 1;
    this.sticks = $$(".stick", svg).map((element) => ({
      element, ppm: Number(element.dataset.ppm), size: element.dataset.atoms.split(" ").length,
      error: Number($(".band", element).dataset.error) || 0,
    }));
    if (tools) {
      tools.hidden = false;
      tools.addEventListener("click", (event) => this.act(event.target.closest("[data-zoom]")?.dataset.zoom));
      $("[data-width]", tools).addEventListener("input", (event) => { this.width = Number(event.target.value); this.curve(); });
    }
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return; // plain wheels scroll the page
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.ppmAt(event));
    }, { passive: false });
    svg.addEventListener("keydown", (event) => {
      const act = { "+": "in", "=": "in", "-": "out", "0": "all" }[event.key];
      if (act && !event.ctrlKey && !event.metaKey) { event.preventDefault(); this.act(act); }
    });
    this.startDrag();
  }

  x(ppm) { return LEFT + (this.high - ppm) / (this.high - this.low) * (RIGHT - LEFT); }

  ppmAt(event) {
    const box = this.svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * 900;
    return this.high - (x - LEFT) / (RIGHT - LEFT) * (this.high - this.low);
  }

  act(what) {
    if (what === "all") this.show(this.lowest, this.highest);
    const middle = this.sticks.find((stick) => stick.element.classList.contains("chosen"))?.ppm ?? (this.low + this.high) / 2;
    if (what === "in") this.zoom(0.5, middle);
    if (what === "out") this.zoom(2, (this.low + this.high) / 2);
  }

  zoom(factor, middle) {
    const span = Math.max(10 * this.line / 4, Math.min(this.highest - this.lowest, (this.high - this.low) * factor));
    const part = (this.high - middle) / (this.high - this.low);
    let high = middle + span * Math.min(1, Math.max(0, part));
    high = Math.min(this.highest, Math.max(this.lowest + span, high));
    this.show(high - span, high);
  }

  show(low, high) {
    this.low = low;
    this.high = high;
    for (const { element, ppm, error } of this.sticks) {
      const x = this.x(ppm), half = error / (high - low) * (RIGHT - LEFT);
      const [line, hit, text, band, loose] = ["line", ".hit", "text", ".band", ".loose"].map((name) => $(name, element));
      line.setAttribute("x1", x); line.setAttribute("x2", x); text.setAttribute("x", x); hit.setAttribute("x", x - 12);
      band.setAttribute("x", x - half); band.setAttribute("width", 2 * half);
      if (loose) loose.setAttribute("x", x - 8);
      const seen = ppm >= low && ppm <= high;
      element.setAttribute("tabindex", seen ? "0" : "-1");
    }
    for (const peak of $$(".peak", this.svg)) {
      const x = this.x(Number(peak.dataset.ppm));
      for (const line of $$("line", peak)) {
        line.setAttribute("x2", x);
        line.setAttribute("x1", line.classList.contains("join") ? this.x(Number(peak.dataset.from)) : x);
      }
    }
    const ticks = $(".ticks", this.svg);
    ticks.replaceChildren();
    for (const [ppm, label] of ticksOf(low, high)) {
      const tick = make("g", { class: "tick" }, ticks), x = this.x(ppm);
      make("line", { x1: x, y1: BELOW, x2: x, y2: BELOW + 5 }, tick);
      make("text", { x, y: BELOW + 18, "text-anchor": "middle" }, tick, label);
    }
    this.labels();
    this.curve();
  }

  labels() { // as picture.levels
    const ends = [-Infinity, -Infinity, -Infinity, -Infinity];
    for (const { element, ppm } of this.sticks) {
      const text = $("text", element), x = this.x(ppm), half = text.textContent.length * 6.7 / 2;
      const seen = ppm >= this.low && ppm <= this.high, level = seen ? ends.findIndex((end) => x - half >= end) : -1;
      if (level >= 0) { ends[level] = x + half + 3; text.setAttribute("y", 60 - 13 * level); }
      text.setAttribute("visibility", level >= 0 ? "visible" : "hidden");
    }
  }

  curve() {
    const width = this.line * this.width, points = [];
    for (let step = 0; step <= POINTS; step += 1) points.push(this.low + (this.high - this.low) * step / POINTS);
    for (const { ppm } of this.sticks) {
      for (let step = -16; step <= 16; step += 1) {
        const at = ppm + width * step / 4;
        if (at > this.low && at < this.high) points.push(at);
      }
    }
    points.sort((a, b) => a - b);
    const level = (at) => this.sticks.reduce((sum, { ppm, size }) => sum + size / (1 + ((at - ppm) / width) ** 2), 0);
    const most = Math.max(...this.sticks.map(({ ppm }) => level(ppm)));
    const path = points.map((at) => `${this.x(at).toFixed(1)},${(AXIS - level(at) / most * (AXIS - TOP) * 0.95).toFixed(1)}`);
    $(".curve", this.svg).setAttribute("d", `M${path.join("L")}`);
  }

  startDrag() {
    let from = null, area = null;
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      from = event;
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (!from || Math.abs(event.clientX - from.clientX) < 6) return;
      area ||= make("rect", { class: "drag", y: TOP, height: AXIS - TOP }, this.svg);
      const ends = [this.x(this.ppmAt(from)), this.x(this.ppmAt(event))].sort((a, b) => a - b);
      area.setAttribute("x", ends[0]); area.setAttribute("width", ends[1] - ends[0]);
    });
    const end = (event) => {
      if (from && area && event.type === "pointerup") {
        const ends = [this.ppmAt(from), this.ppmAt(event)].sort((a, b) => a - b);
        if (ends[1] - ends[0] > this.line / 2) this.show(Math.max(this.lowest, ends[0]), Math.min(this.highest, ends[1]));
        this.svg.addEventListener("click", (click) => click.stopPropagation(), { capture: true, once: true });
      }
      area?.remove();
      from = area = null;
    };
    this.svg.addEventListener("pointerup", end);
    this.svg.addEventListener("pointerleave", end);
    this.svg.addEventListener("dblclick", () => this.act("all"));
  }
}

export function startSpectra() {
  for (const svg of $$("svg.spectrum")) new Spectrum(svg, $(`[data-for="${svg.id}"]`));
}
