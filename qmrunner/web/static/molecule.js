// The one 3D viewer of the page: its library is loaded when asked for, and one geometry at a time.
import { $, $$, prefix, say } from "./app.js";
import { onChoice, currentChoice, choose, atomsOf } from "./result.js";

const fetched = new Map(); // XYZ by conformer
let viewer = null, model = null, over = [];

// Smoothing takes ten times as long where the processor draws: 2.4 s instead of 0.16 s a picture, measured.
function drawnByProcessor() {
  const gl = document.createElement("canvas").getContext("webgl");
  const info = gl?.getExtension("WEBGL_debug_renderer_info");
  const name = info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}

function load(url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = resolve;
    script.onerror = () => reject(new Error("the 3D library could not be loaded"));
    document.head.append(script);
  });
}

async function geometry(job, conformer) {
  if (!fetched.has(conformer)) {
    const answer = await fetch(`${prefix}/v1/jobs/${job}/conformers/${encodeURIComponent(conformer)}.xyz`);
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    fetched.set(conformer, await answer.text());
  }
  return fetched.get(conformer);
}

const groupOf = (atom) => $$("table.shifts tr[data-atoms]").map(atomsOf).find((atoms) => atoms.includes(atom)) || [];

function draw() {
  const chosen = currentChoice();
  viewer.setStyle({}, { stick: { radius: 0.12 }, sphere: { scale: 0.22 } });
  for (const other of over) other.setStyle({}, { line: { linewidth: 1 } });
  viewer.removeAllLabels();
  const { color: ink, backgroundColor: ground } = getComputedStyle(document.body);
  if (chosen.length) {
    // Our atoms are numbered from 1, those of the library from 0.
    model.setStyle({ index: chosen.map((atom) => atom - 1) }, { stick: { radius: 0.16 }, sphere: { scale: 0.38, color: "#2f81f7" } });
  }
  if ($("#labels").checked) {
    for (const row of $$("table.shifts tr[data-atoms]")) {
      const atoms = atomsOf(row), shift = row.cells[1].textContent.trim();
      for (const atom of atoms) {
        const marked = chosen.includes(atom);
        if (chosen.length && !marked) continue;
        if (!chosen.length && atoms[0] !== atom) continue;
        viewer.addLabel(shift, { fontSize: 12, fontColor: ink, backgroundColor: ground, backgroundOpacity: 0.85, padding: 1.5, inFront: true, alignment: "bottomLeft", screenOffset: { x: 10, y: -6 } },
          { index: atom - 1, model: model.getID() }, true); // true: do not draw for each label
      }
    }
  }
  viewer.render();
  $("#viewer").dataset.chosen = chosen.join(" ");
}

async function show(job, conformer) {
  const xyz = await geometry(job, conformer);
  viewer.removeAllModels();
  over = [];
  model = viewer.addModel(xyz, "xyz");
  const place = $("#overlay");
  if (place?.checked) {
    const names = [...$("#conformer").options].map((option) => option.value).slice(0, 20).filter((name) => name !== conformer);
    const base = points(xyz);
    for (const name of names) over.push(viewer.addModel(aligned(await geometry(job, name), base), "xyz"));
  }
  model.setClickable({}, true, (atom) => choose(groupOf(atom.index + 1)));
  if (!show.known) { viewer.zoomTo(); viewer.zoom(1.5); }
  show.known = true;
  draw();
  $("#viewer").dataset.conformer = conformer;
  $("#three-says").textContent = `${conformer}, ${words()}`;
}

const words = () => (over.length ? `over ${over.length} others` : "one conformer of the list");

const points = (xyz) => xyz.trim().split("\n").slice(2).map((line) => line.trim().split(/\s+/).slice(1, 4).map(Number));

// Puts a structure onto another: centred, and turned by the quaternion of Horn's method, found by power iteration.
export function aligned(xyz, base) {
  const own = points(xyz), n = base.length;
  const centre = (set) => [0, 1, 2].map((k) => set.reduce((sum, point) => sum + point[k], 0) / set.length);
  const c = centre(own), d = centre(base);
  const a = own.map((p) => p.map((v, k) => v - c[k])), b = base.map((p) => p.map((v, k) => v - d[k]));
  const S = [0, 1, 2].map((i) => [0, 1, 2].map((j) => { let sum = 0; for (let k = 0; k < n; k += 1) sum += a[k][i] * b[k][j]; return sum; }));
  const [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = S;
  const N = [
    [xx + yy + zz, yz - zy, zx - xz, xy - yx], [yz - zy, xx - yy - zz, xy + yx, zx + xz],
    [zx - xz, xy + yx, yy - xx - zz, yz + zy], [xy - yx, zx + xz, yz + zy, zz - xx - yy],
  ];
  const shift = Math.max(...N.map((row) => row.reduce((sum, value) => sum + Math.abs(value), 0))) || 1;
  let q = [1, 0.1, 0.05, 0.02];
  for (let turn = 0; turn < 300; turn += 1) {
    const next = N.map((row, i) => row.reduce((sum, value, j) => sum + value * q[j], 0) + shift * q[i]);
    const size = Math.hypot(...next);
    q = next.map((value) => value / size);
  }
  const [w, x, y, z] = q;
  const R = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ];
  const lines = xyz.trim().split("\n");
  const moved = a.map((p, k) => `${lines[k + 2].trim().split(/\s+/)[0]} ${R.map((row, i) => (row[0] * p[0] + row[1] * p[1] + row[2] * p[2] + d[i]).toFixed(5)).join(" ")}`);
  return [...lines.slice(0, 2), ...moved].join("\n");
}

export function startMolecule() {
  const place = $("#three"), button = $("#show-3d");
  viewer = model = null;
  over = [];
  fetched.clear();
  show.known = false;
  if (!place || !button) return;
  const choice = $("#conformer");
  const attempt = (work) => work().catch((problem) => { $("#three-says").textContent = `3D: ${problem.message}`; say(problem.message); });
  button.addEventListener("click", () => attempt(async () => {
    button.disabled = true;
    $("#three-says").textContent = "loading…";
    try {
      if (!window.$3Dmol) await load(place.dataset.library);
      $("#viewer").hidden = false;
      viewer = window.$3Dmol.createViewer($("#viewer"), { backgroundAlpha: 0, antialias: !drawnByProcessor() });
      if (!viewer) throw new Error("this browser has no WebGL");
      await show(place.dataset.job, choice.value);
      $("#three-tools").hidden = false;
      button.hidden = true;
      $("#viewer").dataset.ready = "";
    } finally { button.disabled = false; }
  }));
  choice.addEventListener("change", () => attempt(() => show(place.dataset.job, choice.value)));
  $("#labels").addEventListener("change", () => viewer && draw());
  $("#overlay")?.addEventListener("change", () => attempt(() => show(place.dataset.job, choice.value)));
  place.addEventListener("click", (event) => {
    const step = Number(event.target.closest("[data-step]")?.dataset.step);
    if (!step) return;
    choice.selectedIndex = (choice.selectedIndex + step + choice.options.length) % choice.options.length;
    choice.dispatchEvent(new Event("change"));
  });
  onChoice(() => viewer && draw());
}
