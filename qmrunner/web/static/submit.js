// A new job: its verdict on each change, drawing, dropped files. Without this the buttons do the same.
import { $, notSent, say } from "./app.js";

const form = $("#new");
const box = $("#structure");
const verdict = $("#verdict");
let asked = 0;
let timer = null;

async function check() {
  const has = box.value.trim() || $("#file").files.length;
  if (!has) return;
  const mine = (asked += 1);
  const data = new FormData(form);
  data.set("do", "check");
  verdict.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, { method: "POST", body: data });
    if (mine !== asked) return;
    const made = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = made.getElementById("verdict");
    if (!fresh) { // an error page
      const box = made.getElementById("problem");
      verdict.replaceChildren();
      if (box && answer.status !== 401) verdict.append(document.importNode(box, true));
      else notSent(answer.status, verdict);
      return;
    }
    verdict.replaceChildren(...[...fresh.childNodes].map((node) => document.importNode(node, true)));
    const label = made.getElementById("send");
    if (label) $("#send").textContent = label.textContent;
    box.setAttribute("aria-invalid", made.getElementById("structure")?.getAttribute("aria-invalid") ?? "false");
  } catch { if (mine === asked) { verdict.replaceChildren(); notSent(0, verdict); } } finally { if (mine === asked) verdict.removeAttribute("aria-busy"); }
}
function soon() { clearTimeout(timer); timer = setTimeout(check, 450); }
form.addEventListener("input", (event) => { if (event.target.name !== "name" && event.target.name !== "group") soon(); });
form.addEventListener("change", soon);
// A changed form is another job; an unchanged one, sent again after Back, finds the job that it has made.
function renew() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  form.elements.key.value = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  keep();
}
const keep = () => history.replaceState({ key: form.elements.key.value }, ""); // what Back brings back
if (history.state?.key) form.elements.key.value = history.state.key;
else keep();
form.addEventListener("input", renew);
form.addEventListener("submit", (event) => {
  if (event.submitter?.value === "check") { event.preventDefault(); check(); }
});

// -- files dropped on the form
const drop = $("#drop");
for (const name of ["dragover", "dragleave", "drop"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.toggle("over", name === "dragover"); });
drop.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  $("#file").files = event.dataTransfer.files;
  renew();
  soon();
});

// -- the editor, loaded on the first click
const part = $("#draw-part");
if (part) {
  const source = part.dataset.editor;
  const button = $("#draw");
  button.hidden = !source;
  $("#draw-missing").hidden = Boolean(source);
  let editor = null;
  button.addEventListener("click", async () => {
    const place = $("#editor");
    if (editor) { place.hidden = !place.hidden; button.textContent = place.hidden ? "Draw" : "Close the editor"; return; }
    button.disabled = true;
    button.textContent = "loading";
    try {
      const library = await import(source);
      place.hidden = false;
      editor = new library.CanvasEditor(place, { readOnly: false, initialMode: "molecule" });
      if (box.value.trim()) { try { editor.setMolecule(box.value.includes("\n") ? library.Molecule.fromMolfile(box.value) : library.Molecule.fromSmiles(box.value.trim())); } catch { /* the verdict says what is wrong */ } }
      editor.setOnChangeListener(({ type, isUserEvent }) => {
        if (type !== "molecule" || !isUserEvent) return;
        box.value = editor.getMolecule().toIsomericSmiles();
        renew();
        soon();
      });
      button.textContent = "Close the editor";
    } catch { say("the editor could not be loaded"); button.textContent = "Draw"; } finally { button.disabled = false; }
  });
}
if (box.value.trim() && !verdict.querySelector("dl") && !verdict.querySelector(".problem")) check();
