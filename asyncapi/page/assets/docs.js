// Search, the error table's filter, copy buttons and the place in the sidebar. The page is complete without it.
"use strict";

const LONGEST_LIST = 14;

/** Everything that can be found: what has data-find, with its own words. */
const entries = [...document.querySelectorAll("[data-find]")].map((element) => ({
  id: element.id,
  name: element.dataset.find,
  kind: element.dataset.kind,
  about: about(element),
  key: element.dataset.find.toLowerCase(),
  text: `${element.dataset.find} ${about(element)} ${element.dataset.more ?? ""} ${element.querySelector(".arguments")?.textContent ?? ""}`.toLowerCase(),
}));

function about(element) {
  return element.dataset.about ?? element.querySelector(":scope > .about")?.textContent ?? "";
}

/** Best first: the name itself, its beginning, within it, within the text; every word must occur. */
function find(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [];
  const score = ({ key, text }) => {
    if (!words.every((word) => text.includes(word))) return 0;
    const whole = words.join(" ");
    if (key === whole) return 5;
    if (key.startsWith(whole)) return 4;
    if (key.includes(whole)) return 3;
    return text.split(/[^a-z0-9_.-]+/).includes(words[0]) ? 2 : 1;
  };
  return entries
    .map((entry) => ({ entry, score: score(entry) }))
    .filter((found) => found.score > 0)
    .sort((one, other) => other.score - one.score)
    .slice(0, LONGEST_LIST)
    .map((found) => found.entry);
}

const input = document.getElementById("search");
const list = document.getElementById("results");
let chosen = -1;

function line(entry, number) {
  const item = document.createElement("li");
  item.id = `result-${number}`;
  item.role = "option";
  item.dataset.target = entry.id;
  for (const [tag, text, name] of [["span", entry.kind, "kind"], ["strong", entry.name, ""], ["small", entry.about, ""]]) {
    const part = document.createElement(tag);
    part.textContent = text;
    if (name) part.className = name;
    item.append(part);
  }
  return item;
}

function choose(number) {
  const items = list.querySelectorAll("[role=option]");
  chosen = items.length ? (number + items.length) % items.length : -1;
  items.forEach((item, place) => item.setAttribute("aria-selected", String(place === chosen)));
  items[chosen]?.scrollIntoView({ block: "nearest" });
  if (chosen >= 0) input.setAttribute("aria-activedescendant", items[chosen].id);
}

function show() {
  const found = find(input.value);
  list.replaceChildren(...found.map(line));
  if (found.length === 0) {
    const none = document.createElement("li");
    none.className = "none";
    none.textContent = "Nothing found: try a field, an error type or a code, e.g. caption or 131056";
    list.append(none);
  }
  list.hidden = input.value.trim() === "";
  input.setAttribute("aria-expanded", String(!list.hidden));
  choose(0);
}

function go(id) {
  list.hidden = true;
  input.blur();
  if (location.hash === `#${id}`) reveal();
  else location.hash = id;
}

input.addEventListener("input", show);
input.addEventListener("focus", () => input.value && show());
input.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) choose(chosen + step);
  else if (event.key === "Enter" && chosen >= 0) go(list.children[chosen].dataset.target);
  else if (event.key === "Escape") list.hidden = true;
  else return;
  event.preventDefault();
});
list.addEventListener("mousedown", (event) => {
  const item = event.target.closest("[role=option]");
  if (item) go(item.dataset.target);
});
document.addEventListener("click", (event) => {
  if (!event.target.closest(".search")) list.hidden = true;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  input.focus();
  input.select();
});

/** Open whatever folds the target away, and bring it into view. */
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.matches("tr[hidden]")) reset();
  for (let node = target; node; node = node.parentElement) if (node.matches("details")) node.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);

/** The error table's filter. */
const words = document.getElementById("error-words");
const decision = document.getElementById("error-decision");
const rows = [...document.querySelectorAll("#errors tbody tr")];

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const text = `${row.textContent} ${row.dataset.more}`.toLowerCase();
    row.hidden = !(wanted.every((word) => text.includes(word)) && (!decision.value || row.dataset.decision === decision.value));
    if (!row.hidden) shown += 1;
  }
  document.getElementById("error-count").textContent = `${shown} of ${rows.length} types`;
}
function reset() {
  words.value = "";
  decision.value = "";
  filter();
}
words.addEventListener("input", filter);
decision.addEventListener("change", filter);
filter();

/** Copy buttons, only where the browser lets a page copy. */
if (navigator.clipboard) {
  for (const block of document.querySelectorAll("pre")) {
    const button = document.createElement("button");
    button.className = "copy";
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    const frame = document.createElement("div");
    frame.className = "copyable";
    block.replaceWith(frame);
    frame.append(block, button);
  }
}

/** Mark the place in the sidebar. */
const links = new Map([...document.querySelectorAll("aside nav a")].map((link) => [link.hash.slice(1), link]));
const seen = new IntersectionObserver((changes) => {
  for (const change of changes) {
    if (!change.isIntersecting) continue;
    for (const link of links.values()) link.classList.remove("here");
    const link = links.get(change.target.id);
    link?.classList.add("here");
  }
}, { rootMargin: "-10% 0px -80% 0px" });
for (const id of links.keys()) {
  const target = document.getElementById(id);
  if (target) seen.observe(target);
}
if (location.hash) reveal();
