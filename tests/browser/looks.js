// Looks at a page as a reader would: each function returns what is wrong, as a list of short texts.
"use strict";

/** Texts whose contrast with what they stand on is below 4.5, the least that WCAG 2 level AA asks for. */
function faint(texts = 1000) {
  const LEAST = 4.5;
  const numbers = (colour) => {
    const found = colour.match(/[\d.]+/g).map(Number);
    return found.length === 3 ? [...found, 1] : found;
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, place) => value * a + under[place] * (1 - a));
  const light = (colour) => {
    const [r, g, b] = colour
      .map((value) => value / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const own = numbers(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, ground(element.parentElement));
  };
  // In the picture, a text lies on the box of its group, or else on the figure.
  const box = (text) => text.parentElement.querySelector(":scope > rect");
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const wrong = new Set();
  const judge = (name, colour, under) => {
    const found = contrast(over(numbers(colour), under), under);
    if (found < LEAST) wrong.add(`${name}: ${found.toFixed(2)}`);
  };
  let judged = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const name = `${element.tagName} ${walker.currentNode.data.trim().slice(0, 30)}`;
    const svg = element.closest("svg");
    if (svg && !element.matches("text")) continue;
    const own = svg && box(element);
    const under = own ? numbers(getComputedStyle(own).fill).slice(0, 3) : ground(element);
    judge(name, getComputedStyle(element)[svg ? "fill" : "color"], under);
    judged += 1;
  }
  for (const input of document.querySelectorAll("input")) {
    if (!input.checkVisibility()) continue;
    judge(`placeholder of ${input.id}`, getComputedStyle(input, "::placeholder").color, ground(input));
  }
  return judged > texts ? [...wrong] : [`only ${judged} texts`];
}

/** Names that continue on a second line. */
function broken() {
  const names = [...document.querySelectorAll(
    ".type a, td:first-child code, article > header code, .field > .line > code, li > code",
  )].filter((name) => name.checkVisibility());
  const lines = (name) => {
    const text = document.createRange();
    text.selectNodeContents(name);
    return new Set([...text.getClientRects()].map((line) => Math.round(line.top))).size;
  };
  if (names.length < 100) return [`only ${names.length} names`];
  return names.filter((name) => lines(name) > 1).map((name) => name.textContent);
}

/** What does not fit into the window, or scrolls sideways. */
function tooWide() {
  const wide = [...document.querySelectorAll("body *")].filter((part) =>
    part.checkVisibility() && part.getBoundingClientRect().right > innerWidth + 1);
  const scrolled = [...document.querySelectorAll("pre, table, .table")].filter((part) =>
    part.checkVisibility() && part.scrollWidth > part.clientWidth + 1);
  return [...wide, ...scrolled].map((part) => `${part.tagName} ${part.textContent.slice(0, 40)}`);
}

/** Lines of samples that continue on a second line. */
function wrapped() {
  const shown = [...document.querySelectorAll(".sample code")].filter((part) => part.checkVisibility());
  const tall = (code) => {
    const height = parseFloat(getComputedStyle(code).lineHeight);
    return Math.round(code.getBoundingClientRect().height / height) - code.textContent.trimEnd().split("\n").length;
  };
  return shown.length === 1 ? shown.filter(tall).map((code) => code.textContent) : [`${shown.length} samples`];
}

/** Buttons that lie on a text. */
function covering() {
  const boxes = (part) => {
    const text = document.createRange();
    text.selectNodeContents(part);
    return [...text.getClientRects()];
  };
  const meet = (one, other) =>
    one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
  const buttons = [...document.querySelectorAll("section > .unfold, .copy")].filter((part) => part.checkVisibility());
  if (buttons.length < 10) return [`only ${buttons.length} buttons`];
  const text = (part) => boxes(part.parentElement.querySelector("h2, code"));
  return buttons
    .filter((part) => text(part).some((box) => meet(box, part.getBoundingClientRect())))
    .map((part) => `${part.textContent} on ${part.parentElement.textContent.trim().slice(0, 30)}`);
}

/** What can be clicked, but not reached with the Tab key. */
function unreachable() {
  const act = [...document.querySelectorAll("a[href], button, input, select, summary")].filter((part) =>
    part.checkVisibility() && !part.matches(".skip"));
  const reached = (part) => {
    part.focus({ preventScroll: true });
    return part === document.activeElement && part.tabIndex === 0;
  };
  if (act.length < 100) return [`only ${act.length} things`];
  return act.filter((part) => !reached(part)).map((part) => part.outerHTML.slice(0, 80));
}
