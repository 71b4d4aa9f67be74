"use strict";
const { items, words, name } = JSON.parse(document.getElementById("items").textContent);
const by = (id) => document.getElementById(id);
const keys = "123456789abcdefghijklmopqrstuvwxyz"; // not 0 and n, which say that nothing fits
const store = "xcomp " + name;
const picks = new Map(kept());
let at = Math.max(0, items.findIndex((item) => !picks.has(item.id)));

function kept() {
  try {
    const old = JSON.parse(localStorage.getItem(store) || "[]");
    const known = new Map(items.map((item) => [item.id, item.digest]));
    return old.filter(([id, pick]) => known.get(id) === pick.item);
  } catch {
    return []; // a browser may keep nothing for pages from files
  }
}

function keep() {
  try {
    localStorage.setItem(store, JSON.stringify([...picks]));
  } catch {
    return;
  }
}

function element(tag, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return made;
}

function image(source, alt) {
  const made = element("img");
  made.src = source;
  made.alt = alt;
  return made;
}

function candidate(item, place) {
  const button = element("button");
  button.type = "button";
  button.append(image(item.candidates[place].source, words.candidate + " " + (place + 1)), element("kbd", keys[place].toUpperCase()));
  button.setAttribute("aria-pressed", String(picks.get(item.id)?.pick === item.candidates[place].number));
  button.addEventListener("click", () => choose(item.candidates[place].number));
  const entry = element("li");
  entry.append(button);
  return entry;
}

function draw() {
  const item = items[at];
  const context = item.context.map((part) => (part.text === undefined ? image(part.source, words.earlier) : element("p", part.text)));
  by("context").replaceChildren(...context);
  context.forEach((part) => part.addEventListener("load", toThePlace));
  toThePlace();
  by("candidates").replaceChildren(...item.candidates.map((_, place) => candidate(item, place)));
  by("none").setAttribute("aria-pressed", String(picks.get(item.id)?.pick === "none"));
  by("back").disabled = at === 0;
  by("next").disabled = at === items.length - 1;
  by("progress").value = picks.size;
  by("state").textContent = `${at + 1} / ${items.length} · ${words.labelled} ${picks.size}`;
  by("picks").hidden = true;
}

function toThePlace() {
  by("context").scrollTop = by("context").scrollHeight; // at the end of the context
}

function choose(pick) {
  const item = items[at];
  picks.set(item.id, { id: item.id, item: item.digest, pick, order: item.candidates.map((each) => each.number) });
  keep();
  if (at < items.length - 1) at += 1;
  draw();
}

function move(step) {
  at = Math.min(items.length - 1, Math.max(0, at + step));
  draw();
}

function exported() {
  return items.filter((item) => picks.has(item.id)).map((item) => JSON.stringify(picks.get(item.id)) + "\n").join("");
}

function save() {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([exported()], { type: "application/jsonl" }));
  link.download = name + ".picks.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function copy() {
  by("picks").hidden = false;
  by("picks").value = exported();
  by("picks").select();
  try {
    await navigator.clipboard.writeText(exported());
  } catch {
    document.execCommand("copy"); // of the selected text, where a page from a file may not use the clipboard
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  const place = keys.indexOf(key);
  if (key === "0" || key === "n") choose("none");
  else if (key === "arrowleft") move(-1);
  else if (key === "arrowright") move(1);
  else if (key.length === 1 && place >= 0 && place < items[at].candidates.length) choose(items[at].candidates[place].number);
  else return;
  event.preventDefault();
});

for (const id of ["none", "back", "next", "save", "copy", "question", "help"]) by(id).textContent = words[id];
by("none").addEventListener("click", () => choose("none"));
by("back").addEventListener("click", () => move(-1));
by("next").addEventListener("click", () => move(1));
by("save").addEventListener("click", save);
by("copy").addEventListener("click", copy);
draw();
