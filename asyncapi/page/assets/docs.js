// Search, the error table's filter, tabs, buttons to copy and to expand, and the place in the contents. The page is
// complete without it.
"use strict";

const LONGEST_LIST = 20;
const EXCERPT = 120; // characters

/** Everything that can be found: what has data-find, with the words that stand in it. */
let found = null;
function entries() {
  found ??= [...document.querySelectorAll("[data-find]")].map((element) => {
    const { find: name, kind, about = "", more = "" } = element.dataset;
    const prose = ownText(element).replace(/\s+/g, " ").trim();
    return { id: element.id, name, kind, about, prose, key: name.toLowerCase(), text: `${name} ${about} ${prose} ${more}`.toLowerCase() };
  });
  return found;
}

/** An element's text without that of examples and of what is found by itself. */
function ownText(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data;
  const parts = [...node.childNodes].filter((part) => !part.matches?.("[data-find], .example, .columns, .filter, svg"));
  return parts.map(ownText).join(node.matches?.("p, td, dd") ? "" : " ");
}

/** What a result says: its own sentence, or the place in its text where the first word stands. */
function excerpt({ about, prose }, query) {
  const word = query.toLowerCase().trim().split(/\s+/)[0];
  const place = prose.toLowerCase().indexOf(word);
  if (place < 0 || about.toLowerCase().includes(word)) return about || prose.slice(0, EXCERPT);
  const start = place < EXCERPT / 3 ? 0 : prose.indexOf(" ", place - EXCERPT / 3) + 1;
  return `${start ? "… " : ""}${prose.slice(start, start + EXCERPT)}${start + EXCERPT < prose.length ? " …" : ""}`;
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
  return entries()
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
  for (const [tag, text, name] of [["span", entry.kind, "kind"], ["strong", entry.name, ""], ["small", excerpt(entry, input.value), ""]]) {
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

/** Samples that stand one after the other become tabs. */
for (const first of document.querySelectorAll(":not(.sample) + .sample")) {
  const samples = [first];
  while (samples.at(-1).nextElementSibling?.matches(".sample")) samples.push(samples.at(-1).nextElementSibling);
  const tabs = samples.map((sample) => button(sample.querySelector("figcaption").textContent.split(" ")[0], () => pick(sample)));
  const pick = (chosen) => samples.forEach((sample, place) => {
    sample.hidden = sample !== chosen;
    tabs[place].setAttribute("aria-pressed", String(sample === chosen));
  });
  const bar = document.createElement("div");
  bar.className = "tabs";
  bar.append(...tabs);
  first.before(bar);
  pick(first);
}

/** In the hand, fields of fields begin folded. */
if (matchMedia("(max-width: 50rem)").matches) document.querySelectorAll("details[open]").forEach((fold) => { fold.open = false; });

/** A button that opens every fold of a section, and closes them again. */
for (const section of [document.querySelector("main"), ...document.querySelectorAll("section")]) {
  const folds = section.querySelectorAll("details");
  if (folds.length === 0) continue;
  let open = false;
  const unfold = button("Expand all", () => {
    open = !open;
    folds.forEach((fold) => { fold.open = open; });
    unfold.textContent = open ? "Fold all" : "Expand all";
  });
  unfold.className = "unfold";
  const badges = section.querySelector(":scope > header > .badges");
  if (badges) badges.append(unfold);
  else section.querySelector("h2").after(unfold);
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

/** Copy buttons, only where the browser lets a page copy. */
if (navigator.clipboard) {
  for (const block of document.querySelectorAll("pre")) {
    const copy = button("Copy", async () => {
      await navigator.clipboard.writeText(block.querySelector("code").textContent);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
    copy.className = "copy";
    const frame = document.createElement("div");
    frame.className = "copyable";
    block.replaceWith(frame);
    frame.append(block, copy);
  }
}

/** The menu closes behind a link. */
const contents = document.getElementById("contents");
contents.addEventListener("click", (event) => {
  if (event.target.matches("a") && contents.matches(":popover-open")) contents.hidePopover();
});

/** Mark the place in the contents. */
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
