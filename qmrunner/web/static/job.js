// The page of a job: keys on the grid, the log that grows, curves, and "notify me when it ends".
import { $, $$, prefix, say } from "./app.js";
import { curves, forget } from "./curves.js";

// -- the grid: arrow keys move within and between stages
document.addEventListener("keydown", (event) => {
  const cell = event.target.closest?.("[data-grid] .cell");
  if (!cell) return;
  const rows = $$("[data-grid] tr").map((row) => $$(".cell", row));
  const y = rows.findIndex((row) => row.includes(cell));
  const x = rows[y].indexOf(cell);
  const to = { ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1], ArrowUp: [y - 1, x], ArrowDown: [y + 1, x], Home: [y, 0], End: [y, rows[y].length - 1] }[event.key];
  if (!to) return;
  event.preventDefault();
  const row = rows[Math.max(0, Math.min(rows.length - 1, to[0]))];
  row[Math.max(0, Math.min(row.length - 1, to[1]))]?.focus();
});

// -- a stage of many steps comes as one letter for each: its cells are made here, and changed where a letter changed
function cells() {
  const grid = JSON.parse($("#live_grid")?.dataset.words ?? "{}");
  for (const place of $$("[data-letters]")) {
    const { letters, prefix } = place.dataset;
    const old = place.dataset.drawn ?? "";
    if (old === letters) continue;
    const ids = place.dataset.ids.split(" ");
    const chosen = $("#live_step")?.dataset.step;
    for (let index = 0; index < letters.length; index += 1) {
      if (index < place.children.length && old[index] === letters[index]) continue;
      const { word, kind, shape } = grid[letters[index]];
      const name = `${prefix}${ids[index] ?? ""}`;
      const cell = document.createElement("a");
      cell.className = `cell ${kind}`;
      cell.href = `?step=${encodeURIComponent(name)}`;
      cell.dataset.step = name;
      cell.title = `${name}: ${word}`;
      cell.setAttribute("aria-label", cell.title);
      cell.textContent = shape;
      cell.tabIndex = index ? -1 : 0; // the arrow keys move between the others
      if (name === chosen) cell.setAttribute("aria-current", "true");
      if (index < place.children.length) place.children[index].replaceWith(cell);
      else place.append(cell);
    }
    while (place.children.length > letters.length) place.lastChild.remove();
    place.dataset.drawn = letters;
  }
}
cells();
document.addEventListener("qm:parts", cells);

// -- a bar of the timeline leads to its attempt, as the link in the table of attempts does
document.addEventListener("click", (event) => {
  const where = event.target.closest?.("[data-go]")?.dataset.go;
  if (where) location.assign(where);
});

// -- the log. Lines are put in by textContent only.
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])|[\x00-\x08\x0b-\x1f\x7f]/g;
const PIECE = 65536;
const MOST_LINES = 20000;
const MOST_BEHIND = 1 << 20; // a log that is further ahead is shown again from its end
let part = null;
let log = null;
let at = null; // which attempt is shown, and from where to where
let rest = ""; // an unfinished line
let busy = false;
const url = (offset, limit) => `${prefix}/v1/jobs/${part.dataset.job}/steps/${encodeURIComponent(part.dataset.step)}/log?attempt=${at.attempt}&offset=${offset}&limit=${limit}`;
function line(text, number) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  const words = document.createElement("span");
  link.setAttribute("aria-hidden", "true");
  link.tabIndex = -1;
  if (number !== null) { item.id = `L${number}`; link.href = `#L${number}`; link.textContent = number; }
  words.textContent = text.replace(/\r/g, "").replace(ESCAPES, "");
  item.append(link, words);
  return item;
}
const list = () => $("ol", log);
const nextNumber = () => (at.first === null ? null : at.first + list().children.length);
async function grow() {
  const mine = at;
  if (!log || busy || !mine.attempt) return;
  busy = true;
  try {
    for (let more = true; more;) {
      const answer = await fetch(url(at.next, PIECE));
      if (!answer.ok) return;
      const data = await answer.arrayBuffer();
      if (mine !== at) return; // another attempt is shown meanwhile
      more = data.byteLength === PIECE;
      if (!data.byteLength) return;
      at.next += data.byteLength;
      const pieces = (rest + at.decoder.decode(data, { stream: true })).split("\n");
      rest = pieces.pop();
      const made = document.createDocumentFragment();
      let number = nextNumber();
      for (const text of pieces) { made.append(line(text, number)); if (number !== null) number += 1; }
      list().append(made);
      while (list().children.length > MOST_LINES) { list().firstChild.remove(); if (at.first !== null) at.first += 1; }
      $("#log-empty")?.remove();
      if ($("#follow").checked) log.scrollTop = log.scrollHeight;
    }
  } finally { busy = false; }
}
async function earlier() {
  const from = Math.max(0, at.start - PIECE);
  const data = await (await fetch(url(from, at.start - from))).arrayBuffer();
  const cut = from > 0 ? new Uint8Array(data).indexOf(10) + 1 : 0;
  at.start = from + cut;
  const text = new TextDecoder().decode(data.slice(cut));
  const lines = text.replace(/\n$/, "").split("\n");
  if (at.first !== null) at.first -= lines.length;
  const height = log.scrollHeight;
  list().prepend(...lines.map((words, index) => line(words, at.first === null ? null : at.first + index)));
  log.scrollTop += log.scrollHeight - height;
  $("#earlier").hidden = at.start === 0;
}
function find(text) {
  $$("li.hit", log).forEach((item) => item.classList.remove("hit"));
  if (!text) return;
  const hits = $$("li", log).filter((item) => item.lastChild.textContent.toLowerCase().includes(text.toLowerCase()));
  hits.forEach((item) => item.classList.add("hit"));
  hits[0]?.scrollIntoView({ block: "center" });
  say(`${hits.length} lines`);
}
function startLog() {
  part = $("#log-part");
  log = $("#log");
  rest = "";
  at = log && { attempt: Number(log.dataset.attempt), start: Number(log.dataset.start), next: Number(log.dataset.next), first: log.dataset.first ? Number(log.dataset.first) : null, decoder: new TextDecoder() };
  if (!log) return;
  const around = new URLSearchParams(location.search).get("line");
  const hit = around && document.getElementById(`L${around}`);
  if (around) $("#follow").checked = false;
  if (hit) log.scrollTop = hit.offsetTop - log.offsetTop - log.clientHeight / 2;
  else log.scrollTop = log.scrollHeight;
  $("#earlier").hidden = at.start === 0;
  $("#earlier").addEventListener("click", earlier);
  $("#find").hidden = false;
  $("#find").addEventListener("input", (event) => find(event.target.value));
  log.addEventListener("scroll", () => { if (log.scrollHeight - log.scrollTop - log.clientHeight > 60) $("#follow").checked = false; });
  $("#follow").addEventListener("change", (event) => { if (event.target.checked) log.scrollTop = log.scrollHeight; });
}
startLog();

// -- a new attempt or another step has its own log and curves: these two parts are brought again, the page stays
let bringing = false;
async function bring() {
  if (bringing) return;
  bringing = true;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const made = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["curves", "log-part"]) {
      const fresh = made.getElementById(id);
      const old = document.getElementById(id);
      if (!fresh) { old?.remove(); continue; }
      const copy = document.importNode(fresh, true);
      if (old) old.replaceWith(copy);
      else $("#main").append(copy);
    }
    forget();
    startLog();
  } catch { /* the bar says that the server does not answer */ } finally { bringing = false; }
}
document.addEventListener("qm:log", ({ detail }) => {
  const asked = new URLSearchParams(location.search);
  const other = detail.step && !asked.has("step") && detail.step !== part?.dataset.step;
  if (other || (detail.attempt && !asked.has("attempt") && detail.attempt !== at?.attempt)) { bring(); return; }
  if (detail.size - at?.next > MOST_BEHIND) { if ($("#follow")?.checked) bring(); } // a hidden tab misses gigabytes
  else if (!asked.has("line") && (!detail.size || detail.size !== at?.next)) grow();
  curves(at?.attempt);
});
curves(at?.attempt);

// -- "notify me when it ends"
const tell = $("#tell");
const state = () => $("#live_head")?.dataset.state;
const ENDED = ["succeeded", "failed", "cancelled"];
const title = document.title;
function shown() {
  const now = state();
  const icon = $("#icon");
  const known = ["running", ...ENDED.slice(0, 2)];
  if (icon && known.includes(now)) icon.href = icon.href.replace(/icon[a-z-]*\.svg/, `icon-${now}.svg`);
  document.title = now ? `${now}: ${title}` : title;
  if (!ENDED.includes(now)) return;
  tell.hidden = true;
  if (document.documentElement.dataset.tell) {
    delete document.documentElement.dataset.tell;
    if ("Notification" in window && Notification.permission === "granted") new Notification(document.title);
  }
}
if (tell && !ENDED.includes(state())) {
  tell.hidden = false;
  tell.addEventListener("click", async () => {
    document.documentElement.dataset.tell = "1";
    if ("Notification" in window) { try { await Notification.requestPermission(); } catch { /* the title tells */ } }
    tell.textContent = "You will be notified by the title of this tab and, where allowed, by a notification";
    tell.disabled = true;
  });
}
document.addEventListener("qm:parts", shown);
shown();
