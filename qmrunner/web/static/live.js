// The live parts of a page: one stream for a page that is looked at. A browser opens at most six connections to a host,
// so at most four of its tabs stream and the others ask every few seconds; a hidden tab does neither.
const SLOTS = 4;
const SILENT_MS = 5000; // without a word for so long the page says that it is not live
const ASK_MS = 3000;
const ASK_HIDDEN_MS = 60000;

const SIGNED_OUT = "signed out";

let tools = null;
let source = null;
let release = null; // gives the slot of this tab back
let heard = 0;
let ended = null;
let timer = null;
let waiting = false;

const main = () => document.getElementById("main");

// -- morph: make `old` like `made` with as few changes as possible, so that focus, typed text and scrolling survive
export function morph(old, made) {
  if (old.nodeName !== made.nodeName) { old.replaceWith(document.importNode(made, true)); return; }
  attributes(old, made);
  children(old, made);
}
function attributes(old, made) {
  for (const { name, value } of [...made.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) {
    if (made.hasAttribute(name) || keeps(old, name)) continue;
    old.removeAttribute(name);
  }
  if (old.nodeName === "INPUT" && old !== document.activeElement && old.type === "hidden") old.value = made.value;
}
// What the reader or a script of the page has set, the server does not take away.
function keeps(element, name) {
  return (element.nodeName === "DETAILS" && name === "open") || name === "data-local" || name === "tabindex" || (name === "class" && element.classList.contains("at"));
}
function children(old, made) {
  if (old.hasAttribute?.("data-own")) return; // filled by a script of the page
  const byId = new Map();
  for (const child of old.children) if (child.id) byId.set(child.id, child);
  let at = old.firstChild;
  for (const want of [...made.childNodes]) {
    const same = want.id ? byId.get(want.id) : undefined;
    if (same && same !== at) { old.insertBefore(same, at); at = same; }
    if (at && at.nodeType === want.nodeType && at.nodeName === want.nodeName && (at.id || "") === (want.id || "")) {
      const next = at.nextSibling;
      if (at.nodeType === Node.ELEMENT_NODE) {
        if (at.nodeName === "TIME" && at.dateTime === want.dateTime && at.hasAttribute("data-age") === want.hasAttribute("data-age")) { /* ticks by itself */ }
        else morph(at, want);
      } else if (at.data !== want.data) at.data = want.data;
      at = next;
    } else {
      old.insertBefore(document.importNode(want, true), at);
    }
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

function parts({ version, parts }) {
  const place = main();
  place.dataset.seen = version;
  const states = stateWords();
  for (const [name, html] of Object.entries(parts)) {
    const old = document.getElementById(name);
    const made = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
    if (old && made) morph(old, made);
  }
  tools.tick(place);
  const now = stateWords();
  if (now !== states && now) tools.say(now);
  document.dispatchEvent(new CustomEvent("qm:parts", { detail: Object.keys(parts) }));
}
function stateWords() { return document.querySelector("[data-headline]")?.textContent.replace(/\s+/g, " ").trim() ?? ""; }

// -- what the bar says
function show() {
  const status = document.getElementById("live-status");
  if (!status || !main()?.dataset.live) return;
  const silent = Date.now() - heard;
  const off = ended === SIGNED_OUT || (silent > SILENT_MS && !waiting && ended !== "gone");
  status.hidden = false;
  status.classList.toggle("off", off);
  document.documentElement.classList.toggle("stale", off);
  const text = ended === "gone" ? "ended" : ended === SIGNED_OUT ? "not live: signed out" : off ? `not live: last heard ${tools.span(silent / 1000)} ago; trying again` : waiting ? "asks every 3 s" : "live";
  if (status.textContent !== text) status.textContent = text;
}
function blind({ problem, since }) {
  const place = document.getElementById("blind");
  place.hidden = !problem;
  place.textContent = problem ? `${problem.message}: what is shown is of ${new Date(since * 1000).toLocaleTimeString()}. ${problem.remedy ?? ""}` : "";
}

// -- the stream, or questions
function address(more = {}) {
  const url = new URL(main().dataset.live, location);
  for (const [name, value] of Object.entries(more)) url.searchParams.set(name, value);
  return url;
}
function stream() {
  close();
  waiting = false;
  const own = new EventSource(address({ _seen: main().dataset.seen ?? "" }));
  source = own;
  const on = (name, use) => own.addEventListener(name, (event) => {
    if (own !== source) return;
    heard = Date.now();
    use(JSON.parse(event.data));
  });
  own.addEventListener("open", () => { heard = Date.now(); });
  on("parts", parts);
  on("beat", ({ now }) => tools.setClock(now));
  on("blind", blind);
  for (const name of ["log", "trace"]) on(name, (detail) => document.dispatchEvent(new CustomEvent(`qm:${name}`, { detail })));
  on("end", ({ reason }) => end(reason));
  own.addEventListener("error", () => {
    if (own !== source) return;
    close();
    again(1500);
  });
}
function end(reason) {
  close();
  if (reason === "token_refused") { signedOut(); return; }
  if (reason === "server_stops") { again(1000); return; }
  ended = reason;
  show();
}
// A page on which something was typed stays, and goes on once the reader is signed in again; others lead to the sign-in.
function signedOut() {
  if (!tools.typed()) { location.reload(); return; }
  ended = SIGNED_OUT;
  leave();
  tools.signIn(document.getElementById("blind"));
  show();
}
async function signedIn() {
  if (ended !== SIGNED_OUT || document.hidden || !(await tools.knows())) return;
  document.getElementById("blind").hidden = true;
  restart();
}
function again(ms) { clearTimeout(timer); timer = setTimeout(start, ms); }
function close() {
  clearTimeout(timer);
  source?.close();
  source = null;
}
async function ask(every) {
  if (!main()?.dataset.live || ended) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname.endsWith("/login")) { signedOut(); return; }
    if (answer.ok) {
      heard = Date.now();
      const made = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = {};
      for (const part of made.querySelectorAll("[id^=live_]")) found[part.id] = part.outerHTML;
      parts({ version: made.getElementById("main")?.dataset.seen ?? "", parts: found });
      const log = { step: made.getElementById("log-part")?.dataset.step, attempt: Number(made.getElementById("log")?.dataset.attempt ?? 0) };
      document.dispatchEvent(new CustomEvent("qm:log", { detail: log }));
      document.dispatchEvent(new CustomEvent("qm:trace", { detail: {} }));
    }
  } catch { /* the bar says it */ }
  again(every);
}
async function start() {
  if (!main()?.dataset.live || ended) return;
  if (document.hidden) { if (document.documentElement.dataset.tell) { clearTimeout(timer); timer = setTimeout(() => ask(ASK_HIDDEN_MS), ASK_HIDDEN_MS); } return; }
  if (release || !navigator.locks) { stream(); return; }
  const got = await slot();
  if (got) stream();
  else { waiting = true; ask(ASK_MS); }
}
// A slot is a lock that this tab holds as long as it streams.
async function slot() {
  for (let number = 1; number <= SLOTS; number += 1) {
    const got = await new Promise((resolve) => {
      navigator.locks.request(`qmrunner-live-${number}`, { ifAvailable: true }, (lock) => {
        if (!lock) { resolve(false); return undefined; }
        return new Promise((free) => { release = free; resolve(true); });
      }).catch(() => resolve(false));
    });
    if (got) return true;
  }
  return false;
}
function leave() {
  close();
  release?.();
  release = null;
}

export function restart() { ended = null; leave(); start(); }

export function startLive(given) {
  tools = given;
  heard = Date.now();
  show();
  setInterval(show, 500);
  start();
  document.addEventListener("visibilitychange", () => { if (document.hidden) { leave(); start(); } else { start(); signedIn(); } });
  window.addEventListener("focus", signedIn);
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", (event) => { if (event.persisted) start(); });
}
