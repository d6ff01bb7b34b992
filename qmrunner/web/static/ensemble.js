// Weights and shifts at another temperature, and the range for errors of the energies: as chemistry/sensitivity.py.
import { $, $$ } from "./app.js";
import { onChoice, currentChoice } from "./result.js";

const BOLTZMANN = 3.166811563e-6; // hartree per kelvin
const KCAL = 627.5094740631; // kcal/mol per hartree

export function weights(ensemble, temperature) {
  const lowest = Math.min(...ensemble.conformers.map((row) => row.energy_hartree));
  const factors = ensemble.conformers.map((row) => row.degeneracy * Math.exp(-(row.energy_hartree - lowest) / (BOLTZMANN * temperature)));
  const total = factors.reduce((sum, factor) => sum + factor, 0);
  return factors.map((factor) => factor / total);
}

export function evaluate(ensemble, temperature, error) {
  const share = weights(ensemble, temperature);
  const lean = error / (BOLTZMANN * KCAL * temperature);
  const gains = [Math.expm1(lean), Math.expm1(-lean)];
  return ensemble.atoms.map((atom, place) => {
    const line = ensemble.lines[ensemble.nuclei[place]];
    const values = ensemble.shieldings_ppm.map((row) => row[place]);
    const mean = values.reduce((sum, value, i) => sum + share[i] * value, 0);
    let low = 0, high = 0, most = 0, by = null;
    values.forEach((value, i) => {
      for (const gain of gains) {
        const change = line.slope * (value - mean) * gain * share[i] / (1 + gain * share[i]);
        low = Math.min(low, change); high = Math.max(high, change);
        if (Math.abs(change) > most + 1e-12) { most = Math.abs(change); by = ensemble.conformers[i].id; }
      }
    });
    const shift = line.intercept_ppm + line.slope * mean;
    return { atom, shift, low: shift + low, high: shift + high, most, by: most >= 1e-4 ? by : null };
  });
}

const minus = (text) => text.replace("-", "−");

export function startEnsemble() {
  const data = $("#ensemble-data");
  if (!data) return;
  // A large table is fetched when the page is there; a failure leaves what the server has computed.
  if (data.dataset.from) {
    fetch(data.dataset.from).then((answer) => answer.json()).then((found) => begin(found.ensemble)).catch(() => {});
  } else begin(JSON.parse(data.textContent));
}

function begin(ensemble) {
  const place = new Map(ensemble.atoms.map((atom, index) => [atom, index]));
  const own = new Map(ensemble.conformers.map((row, index) => [row.id, index]));

  const values = (atoms) => {
    const at = atoms.length ? place.get(atoms[0]) : undefined;
    const head = $("#h-chosen");
    if (!head) return;
    head.hidden = at === undefined;
    const line = at === undefined ? null : ensemble.lines[ensemble.nuclei[at]];
    for (const cell of $$("td[data-value]")) {
      cell.hidden = at === undefined;
      const row = own.get(cell.parentElement.dataset.conformer);
      cell.textContent = at === undefined || row === undefined ? ""
        : minus((line.intercept_ppm + line.slope * ensemble.shieldings_ppm[row][at]).toFixed(ensemble.nuclei[at] === "1H" ? 2 : 1));
    }
  };
  onChoice(values);
  if (currentChoice().length) values(currentChoice());

  const form = $("#sensitivity");
  if (!form) return;
  $("#apply").hidden = true;
  const show = () => {
    const temperature = Number(form.elements.temperature.value), error = Number(form.elements.energy_error.value);
    $("#o-temperature").textContent = `${temperature.toFixed(0)} K`;
    $("#o-error").textContent = `${error.toFixed(2)} kcal/mol`;
    $("#at-temperature").textContent = `${temperature.toFixed(0)} K`;
    const share = weights(ensemble, temperature);
    for (const cell of $$("td[data-weight]")) {
      const row = own.get(cell.parentElement.dataset.conformer);
      if (row !== undefined) cell.textContent = share[row].toFixed(3);
    }
    const found = evaluate(ensemble, temperature, error);
    for (const row of $$("#sensitive tr[data-first]")) {
      const one = found[place.get(Number(row.dataset.first))], digits = Number(row.dataset.digits);
      if (!one) continue;
      const texts = [one.shift, one.low, one.high].map((value) => minus(value.toFixed(digits)));
      texts.forEach((text, index) => { row.cells[index + 1].textContent = text; });
      row.cells[4].textContent = one.by ? `${one.by} (${one.most.toFixed(digits)} ppm)` : "–";
    }
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
}
