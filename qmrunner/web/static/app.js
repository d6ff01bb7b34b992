// Every page: theme, ages, copy, forms without a reload, keys. Nothing here is needed to read or to act.
import { startLive, morph } from "./live.js";

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// The path of this server below a proxy; the server puts it into the addresses of its pages.
export const prefix = document.documentElement.dataset.prefix ?? "";

// -- what is said to screen readers
export function say(text) {
  const place = $("#says");
  if (place) place.textContent = text;
}

// -- the theme
const THEMES = ["system", "light", "dark"];
function store(name, value) {
  try { if (value === null) localStorage.removeItem(name); else localStorage.setItem(name, value); } catch { /* storage is off */ }
}
export function stored(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}
function startTheme() {
  const button = $("#theme");
  if (!button) return;
  let theme = document.documentElement.dataset.theme || "system";
  const show = () => { button.textContent = `theme: ${theme}`; };
  button.hidden = false;
  show();
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    store("qmrunner-theme", theme === "system" ? null : theme);
    show();
  });
}

// -- ages, by the server's clock
let ahead = 0; // seconds by which the server's clock is ahead of this one
export function setClock(now) { ahead = now - Date.now() / 1000; }
export function serverNow() { return Date.now() / 1000 + ahead; }
export function span(seconds) {
  if (seconds < 59.5) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} days`;
}
export function tick(root = document) {
  for (const time of root.querySelectorAll("time[data-age]")) {
    const text = span(serverNow() - Number(time.dataset.age)) + (time.dataset.after || "");
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of root.querySelectorAll("time[data-clock]:not([data-local])")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
    time.dataset.local = "";
  }
}

// -- copy: by the clipboard, or on plain http by a selection
export async function copy(text, place) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("copied");
  if (place) { place.title = "copied"; }
}

// -- forms: the answer's page is put in place of this one
async function send(form, submitter) {
  const question = form.dataset.confirm;
  if (question && !window.confirm(question)) return;
  const data = new FormData(form, submitter);
  const buttons = $$("button", form);
  buttons.forEach((button) => { button.disabled = true; });
  try {
    const post = form.method.toLowerCase() === "post";
    const words = new URLSearchParams(data);
    const multipart = form.enctype === "multipart/form-data";
    const where = post ? form.action : `${form.action.split("?")[0]}?${words}`;
    const answer = await fetch(where, { method: post ? "POST" : "GET", body: post ? (multipart ? data : words) : undefined });
    if (answer.headers.get("content-type")?.startsWith("text/html") !== true) { form.submit(); return; }
    const html = await answer.text();
    if (answer.status === 401) { notSent(401, form.closest(".actions") ?? form); $("#problem").focus(); }
    else if (answer.status >= 400) problem(html, form);
    else show(html, answer.redirected || !post ? answer.url : null);
  } catch {
    say("the server does not answer");
    const status = $("#live-status");
    if (status) { status.hidden = false; status.textContent = "the server does not answer: nothing was changed"; status.classList.add("off"); }
  } finally {
    buttons.forEach((button) => { button.disabled = false; });
    // A disabled button has lost the focus: the keyboard continues where it was.
    if (document.activeElement === document.body && submitter?.isConnected) submitter.focus();
  }
}
// An error is shown below the form that caused it; what was typed stays.
function problem(html, form) {
  const box = new DOMParser().parseFromString(html, "text/html").getElementById("problem");
  if (!box) { location.reload(); return; }
  $("#problem")?.remove();
  const place = document.importNode(box, true);
  (form.closest(".actions") ?? form).after(place);
  place.focus();
  say(place.textContent.replace(/\s+/g, " ").trim());
}
function show(html, url) {
  const made = new DOMParser().parseFromString(html, "text/html");
  const main = made.getElementById("main");
  const samePage = url === null || new URL(url, location).pathname === location.pathname;
  if (!main || !samePage || url?.includes("/login")) { if (url) location.assign(url); return; }
  if (url && url !== location.href) history.replaceState(null, "", url);
  morph($("#main"), main);
  document.title = made.title;
  tick();
  document.dispatchEvent(new CustomEvent("qm:shown"));
}

// -- forms with typed text: sent once, and only while the server answers and knows the reader; else the text is lost
export function notSent(status, place) {
  const box = document.createElement("div");
  const words = document.createElement("p");
  box.className = "problem";
  box.id = "problem";
  box.tabIndex = -1;
  box.setAttribute("role", "alert");
  words.textContent = status === 401 ? "You are signed out. Nothing was sent, and what you typed is still here: " : "The server does not answer. Nothing was sent, and what you typed is still here: try again.";
  if (status === 401) words.append(signInLink(), ", then send this again.");
  box.append(words);
  $("#problem")?.remove();
  place.append(box);
}
function signInLink() {
  const link = document.createElement("a");
  link.href = `${prefix}/login`;
  link.target = "_blank";
  link.textContent = "sign in in another tab";
  return link;
}

// -- signed out while the page is open
const WRITTEN = "input:not([type=hidden], [type=file]), textarea";
function typed() {
  return $$(WRITTEN, $("#main")).some((field) => (field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue));
}
function signIn(place) {
  place.replaceChildren("You are signed out: this page is no longer live. What you typed is still here: ", signInLink(), ".");
  place.hidden = false;
}
async function knows() {
  try { return (await fetch(`${prefix}/v1/me`, { cache: "no-store" })).ok; } catch { return false; }
}
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (event.defaultPrevented || !form.matches("form[data-typed]")) return;
  if (form.dataset.sent === "go") { form.dataset.sent = "gone"; return; }
  event.preventDefault();
  if (form.dataset.sent) return; // a second click
  form.dataset.sent = "asking";
  const { submitter } = event;
  let status = 0;
  try { status = (await fetch(`${prefix}/v1/me`, { cache: "no-store" })).status; } catch { /* said below */ }
  if (status && status !== 401) { form.dataset.sent = "go"; form.requestSubmit(submitter); return; }
  delete form.dataset.sent;
  notSent(status, submitter?.closest(".actions")?.parentElement ?? form);
  $("#problem").focus();
});
window.addEventListener("pageshow", () => { for (const form of $$("form[data-sent]")) delete form.dataset.sent; });

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-swap]")) return;
  event.preventDefault();
  send(form, event.submitter);
});
document.addEventListener("click", (event) => {
  const place = event.target.closest("[data-copy]");
  if (place && !window.getSelection().toString()) copy(place.dataset.copy || place.textContent, place);
});

// -- keys: none of them changes anything; they can be switched off on /help
const KEYS_OFF = "qmrunner-keys-off";
function rows() { return $$("[data-row]").filter((row) => row.offsetParent !== null); }
function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.classList.contains("at"));
  const next = Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + step));
  all.forEach((row) => row.classList.remove("at"));
  all[next].classList.add("at");
  all[next].scrollIntoView({ block: "nearest" });
  $("a", all[next])?.focus();
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || stored(KEYS_OFF)) return;
  if (event.target.closest("input, textarea, select, [contenteditable], [data-keys]")) return;
  const search = $("[data-search]");
  if (event.key === "/" && search) { event.preventDefault(); search.focus(); }
  else if (event.key === "?") location.assign(`${prefix}/help`);
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "x") { const box = $("tr.at input[type=checkbox]"); if (box) box.click(); }
});

function startPage() {
  const curl = $("[data-curl]");
  if (curl) {
    curl.textContent = `curl -H 'Authorization: Bearer SECRET' '${location.origin}${prefix}${curl.dataset.curl}'`;
  }
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code && $("#code-form")) {
    history.replaceState(null, "", location.pathname + location.search);
    $("#code").value = code;
    $("#code-form").submit();
  }
  const keys = $("#keys-off");
  if (keys) {
    keys.checked = Boolean(stored(KEYS_OFF));
    keys.addEventListener("change", () => store(KEYS_OFF, keys.checked ? "1" : null));
  }
}
startTheme();
tick();
setInterval(() => { if (!document.hidden) tick(); }, 1000);
startPage();
startLive({ tick, setClock, say, span, typed, signIn, knows });

// -- the box that selects all rows shown
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-all]")) return;
  for (const box of $$("tbody .pick input")) box.checked = event.target.checked;
});
