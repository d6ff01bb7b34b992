// One selection joins structure, spectrum, 3D and tables: the atoms of one signal. The address keeps it as #atom=7.
import { $, $$, copy, say } from "./app.js";
import { startSpectra } from "./spectrum.js";
import { startEnsemble } from "./ensemble.js";
import { startMolecule } from "./molecule.js";

export const atomsOf = (element) => (element.dataset.atoms || "").split(" ").filter(Boolean).map(Number);

let groups = []; // atoms of each signal, in the order of the tables
let chosen = []; // atoms of the chosen signal
let told = []; // what is called with the chosen atoms

export function onChoice(listener) { told.push(listener); }
export function currentChoice() { return chosen; }

function groupOf(atom) { return groups.find((group) => group.includes(atom)) || []; }

export function choose(atoms, { keep = true } = {}) {
  chosen = atoms;
  for (const element of $$("[data-atoms]")) {
    const own = atomsOf(element);
    element.classList.toggle("chosen", atoms.length > 0 && own.some((atom) => atoms.includes(atom)));
    if (element.getAttribute("role") === "button" || element.tagName === "BUTTON") {
      element.setAttribute("aria-pressed", String(element.classList.contains("chosen")));
    }
  }
  const row = atoms.length ? $(`table.shifts tr[data-atoms="${atoms.join(" ")}"]`) : null;
  const place = $("#picked");
  if (place) {
    const cells = row ? [...row.cells].map((cell) => [cell.dataset.label, cell.innerText.trim()]) : [];
    place.textContent = row
      ? cells.filter(([, text]) => text && text !== "–").map(([label, text], i) => (i ? `${label} ${text}` : text)).join(" · ")
      : "Choose an atom, a line or a row: all views show it.";
    if (row) say(place.textContent);
  }
  for (const listener of told) listener(atoms);
  if (keep) {
    const where = atoms.length ? `#atom=${atoms[0]}` : location.pathname + location.search;
    history.replaceState(null, "", where);
  }
}

// A heavy atom of the drawing stands for itself and its hydrogens: clicking again goes to the next of their signals.
function chooseFrom(element) {
  const own = atomsOf(element);
  const choices = [];
  for (const atom of own) {
    const group = groupOf(atom);
    if (group.length && !choices.includes(group)) choices.push(group);
  }
  if (!choices.length) return;
  const at = choices.findIndex((group) => group[0] === chosen[0]);
  if (at >= 0 && choices.length === 1) choose([]);
  else choose(choices[(at + 1) % choices.length]);
}

function fromAddress() {
  const hit = /^#atom=(\d{1,4})$/.exec(location.hash);
  const group = hit ? groupOf(Number(hit[1])) : [];
  if (group.length) choose(group, { keep: false });
}

function markFar() {
  const far = new Set($$("table.shifts tr").filter((row) => $(".far", row)).flatMap(atomsOf));
  for (const circle of $$(".drawing circle.atom")) {
    const numbers = atomsOf(circle);
    circle.classList.toggle("far", numbers.some((atom) => far.has(atom)));
    circle.setAttribute("stroke-width", "2");
  }
}

// Once for each <main>: a form may put a new one in place of this.
function start() {
  told = [];
  chosen = [];
  groups = $$("table.shifts tr[data-atoms]").map(atomsOf);
  if (!groups.length) return;
  for (const circle of $$(".drawing circle.atom")) {
    const first = atomsOf(circle).map(groupOf).find((group) => group.length);
    if (!first) continue;
    circle.setAttribute("tabindex", "0");
    circle.setAttribute("role", "button");
    const names = atomsOf(circle).map(groupOf).filter((group) => group.length)
      .map((group) => $(`table.shifts tr[data-atoms="${group.join(" ")}"] button`)?.textContent);
    circle.setAttribute("aria-label", [...new Set(names)].join(", "));
  }
  markFar();
  startSpectra();
  startEnsemble();
  startMolecule();
  fromAddress();
  const button = $("#copy-table");
  button.hidden = false;
  button.addEventListener("click", () => {
    const lines = $$("table.shifts").flatMap((table) => [...table.rows].map((row) =>
      [...row.cells].map((cell) => cell.innerText.replace(/\s+/g, " ").trim()).join("\t")));
    copy(lines.join("\n"), button);
  });
}

function listen() {
  document.addEventListener("click", (event) => {
    const element = event.target.closest("[data-atoms]");
    if (element && !event.target.closest("a")) chooseFrom(element);
  });
  document.addEventListener("keydown", (event) => {
    const element = event.target.closest?.("svg [data-atoms]");
    if (!element) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); chooseFrom(element); }
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      const all = $$("[data-atoms][tabindex]", element.closest("svg"));
      const at = all.indexOf(element) + (event.key === "ArrowRight" ? 1 : -1);
      all[(at + all.length) % all.length].focus();
    }
  });
  window.addEventListener("hashchange", fromAddress);
  document.addEventListener("qm:shown", start);
}

listen();
start();
